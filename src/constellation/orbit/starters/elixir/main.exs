# @name@: called with the request's JSON; what it returns becomes the answer's `output`.

defmodule Main do
  def handler(event, _context) do
    name = (event || %{})["name"] || "world"
    IO.puts("greeting #{name}") # shown by `orbit logs @name@`
    %{message: "Hello, #{name}!"}
  end
end
