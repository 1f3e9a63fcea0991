defmodule Main do
  @doc """
  Puts tasks in an order in which each comes after those that it needs: a list of rounds, whose tasks can run at once.
  """
  def handler(%{"needs" => needs}, _context) do
    tasks = needs |> Map.values() |> List.flatten() |> Enum.reduce(needs, &Map.put_new(&2, &1, []))
    %{rounds: rounds(tasks, [])}
  end

  defp rounds(tasks, done) when map_size(tasks) == 0, do: Enum.reverse(done)

  defp rounds(tasks, done) do
    case for {name, needed} <- tasks, not Enum.any?(needed, &Map.has_key?(tasks, &1)), do: name do
      [] -> raise ArgumentError, "these need each other: #{tasks |> Map.keys() |> Enum.join(", ")}"
      ready -> rounds(Map.drop(tasks, ready), [Enum.sort(ready) | done])
    end
  end
end
