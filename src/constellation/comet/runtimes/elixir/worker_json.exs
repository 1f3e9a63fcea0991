defmodule ConstellationWorker.Json do
  @moduledoc "JSON to Elixir and back: the standard library has it from Elixir 1.18 on."

  # --- decoding

  def decode(text) do
    {value, rest} = value(text)

    if String.trim_leading(rest) == "", do: value, else: unexpected(rest)
  end

  defp unexpected(rest), do: raise(ArgumentError, "the event is not JSON at #{inspect(String.slice(rest, 0, 20))}")

  defp value(<<blank, rest::binary>>) when blank in ' \t\r\n', do: value(rest)
  defp value(<<?", rest::binary>>), do: string(rest, [])
  defp value(<<?{, rest::binary>>), do: object(blank(rest), [])
  defp value(<<?[, rest::binary>>), do: array(blank(rest), [])
  defp value(<<"true", rest::binary>>), do: {true, rest}
  defp value(<<"false", rest::binary>>), do: {false, rest}
  defp value(<<"null", rest::binary>>), do: {nil, rest}
  defp value(text), do: number(text)

  defp blank(<<blank, rest::binary>>) when blank in ' \t\r\n', do: blank(rest)
  defp blank(rest), do: rest

  defp array(<<?], rest::binary>>, []), do: {[], rest}

  defp array(text, items) do
    {item, rest} = value(text)

    case blank(rest) do
      <<?,, rest::binary>> -> array(rest, [item | items])
      <<?], rest::binary>> -> {Enum.reverse([item | items]), rest}
      rest -> unexpected(rest)
    end
  end

  defp object(<<?}, rest::binary>>, []), do: {%{}, rest}

  defp object(text, items) do
    with <<?", rest::binary>> <- blank(text),
         {key, rest} = string(rest, []),
         <<?:, rest::binary>> <- blank(rest) do
      {item, rest} = value(rest)

      case blank(rest) do
        <<?,, rest::binary>> -> object(rest, [{key, item} | items])
        <<?}, rest::binary>> -> {Map.new(Enum.reverse([{key, item} | items])), rest}
        rest -> unexpected(rest)
      end
    else
      rest -> unexpected(rest)
    end
  end

  @escapes %{?" => "\"", ?\\ => "\\", ?/ => "/", ?b => "\b", ?f => "\f", ?n => "\n", ?r => "\r", ?t => "\t"}

  defp string(text, parts) do
    size = plain(text, 0)
    <<part::binary-size(size), rest::binary>> = text

    case rest do
      <<?", rest::binary>> ->
        {IO.iodata_to_binary([parts | part]), rest}

      <<"\\u", high::binary-size(4), "\\u", low::binary-size(4), rest::binary>> = whole ->
        case {String.to_integer(high, 16), String.to_integer(low, 16)} do
          {high, low} when high in 0xD800..0xDBFF and low in 0xDC00..0xDFFF ->
            string(rest, [parts, part | <<0x10000 + (high - 0xD800) * 0x400 + low - 0xDC00::utf8>>])

          {single, _} ->
            <<_::binary-size(6), rest::binary>> = whole
            string(rest, [parts, part | character(single)])
        end

      <<"\\u", single::binary-size(4), rest::binary>> ->
        string(rest, [parts, part | character(String.to_integer(single, 16))])

      <<?\\, mark, rest::binary>> when is_map_key(@escapes, mark) ->
        string(rest, [parts, part | @escapes[mark]])

      rest ->
        unexpected(rest)
    end
  end

  # Half of a pair is no character.
  defp character(code) when code in 0xD800..0xDFFF, do: "\uFFFD"
  defp character(code), do: <<code::utf8>>

  defp plain(<<byte, rest::binary>>, size) when byte != ?" and byte != ?\\, do: plain(rest, size + 1)
  defp plain(_, size), do: size

  defp number(text) do
    case Regex.run(~r/\A(-?[0-9]+)(\.[0-9]+)?([eE][-+]?[0-9]+)?/, text) do
      nil -> unexpected(text)
      [whole, _] -> {String.to_integer(whole), after_(text, whole)}
      [whole, integer, fraction | exponent] -> {float(integer, fraction, exponent), after_(text, whole)}
    end
  end

  defp after_(text, part), do: binary_part(text, byte_size(part), byte_size(text) - byte_size(part))

  defp float(integer, "", exponent), do: float(integer, ".0", exponent)
  defp float(integer, fraction, exponent), do: String.to_float(Enum.join([integer, fraction | exponent]))

  # --- encoding

  @doc "Return a value as JSON; ArgumentError names the place of what JSON can not hold."
  def encode(value), do: IO.iodata_to_binary(encoded(value, "output"))

  defp misfit(place, what), do: raise(ArgumentError, "the output is not JSON: #{place} is #{what}")

  defp encoded(value, _) when value in [nil, true, false], do: if(value == nil, do: "null", else: Atom.to_string(value))
  defp encoded(value, place) when is_atom(value), do: quoted(Atom.to_string(value), place)
  defp encoded(value, place) when is_binary(value), do: quoted(value, place)
  defp encoded(value, _) when is_integer(value), do: Integer.to_string(value)
  defp encoded(value, _) when is_float(value), do: :erlang.float_to_binary(value, [:short])

  defp encoded(%module{} = value, place) do
    if module in [Date, Time, DateTime, NaiveDateTime],
      do: quoted(to_string(value), place),
      else: misfit(place, "a #{inspect(module)}")
  end

  defp encoded(value, place) when is_list(value) do
    if List.improper?(value), do: misfit(place, "an improper list")
    items = value |> Enum.with_index() |> Enum.map(fn {item, at} -> encoded(item, [place, "[#{at}]"]) end)
    [?[, Enum.intersperse(items, ?,), ?]]
  end

  defp encoded(value, place) when is_map(value) do
    items = Enum.map(value, fn {key, item} -> [quoted(name(key, place), place), ?:, encoded(item, [place, ".#{name(key, place)}"])] end)
    [?{, Enum.intersperse(items, ?,), ?}]
  end

  defp encoded(value, place), do: misfit(place, "the term #{inspect(value, limit: 5, printable_limit: 80)}")

  defp name(key, _) when is_binary(key), do: key
  defp name(key, _) when is_atom(key) or is_number(key), do: to_string(key)
  defp name(key, place), do: misfit(place, "a map with the key #{inspect(key, limit: 5, printable_limit: 80)}")

  defp quoted(text, place) do
    unless String.valid?(text), do: misfit(place, "text that is not UTF-8")
    if text =~ ~r/["\\\x00-\x1f]/, do: [?", Regex.replace(~r/["\\\x00-\x1f]/, text, &escaped/1), ?"], else: [?", text, ?"]
  end

  for {mark, byte} <- [{"\"", ~S(\")}, {"\\", ~S(\\)}, {"\b", ~S(\b)}, {"\f", ~S(\f)}, {"\n", ~S(\n)}, {"\r", ~S(\r)}, {"\t", ~S(\t)}] do
    defp escaped(unquote(mark)), do: unquote(byte)
  end

  defp escaped(<<byte>>), do: "\\u" <> String.pad_leading(Integer.to_string(byte, 16), 4, "0")
end
