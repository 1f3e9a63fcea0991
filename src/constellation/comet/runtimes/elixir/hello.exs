defmodule Hello do
  def handler(event, _context) do
    %{message: "Hello, #{(event || %{})["name"] || "world"}!"}
  end
end
