# The Elixir worker: reads the frames of proto/agent.proto on descriptor 3, calls the handler, answers each exec frame with
# exactly one result or error frame. Every call is a process of its own, whose group leader is the log of the call.

Code.require_file("worker_json.exs", __DIR__)

defmodule ConstellationWorker.Log do
  @moduledoc "One call's printed output on its way to the host, bounded; id 0 is what no call printed."

  @log 8
  @stderr 1
  @cut 2
  @line_bytes 4096

  def start(port, call_id, limit), do: spawn(fn -> serve(%{port: port, id: call_id, left: limit, open: %{0 => "", 1 => ""}}) end)

  @doc "Send what is held back of a line; nothing printed before is on its way any more when this returns."
  def flush(log) do
    asked = make_ref()
    send(log, {:flush, self(), asked})

    receive do
      {^asked, :flushed} -> :ok
    after
      1000 -> :ok
    end
  end

  def note(log, level, message), do: send(log, {:note, "#{level} #{message}\n"})

  defp serve(log) do
    receive do
      {:io_request, from, tag, request} ->
        {reply, log} = io(request, log)
        send(from, {:io_reply, tag, reply})
        serve(log)

      {:note, text} ->
        serve(write(log, text, @stderr))

      {:flush, from, asked} ->
        log = Enum.reduce([0, @stderr], log, fn flag, log -> emit(put_in(log.open[flag], ""), log.open[flag], flag) end)
        send(from, {asked, :flushed})
        serve(log)

      _ ->
        serve(log)
    end
  end

  defp io({:put_chars, characters}, log), do: io({:put_chars, :latin1, characters}, log)
  defp io({:put_chars, module, function, args}, log), do: io({:put_chars, :latin1, module, function, args}, log)
  defp io({:put_chars, encoding, module, function, args}, log), do: io({:put_chars, encoding, apply(module, function, args)}, log)

  defp io({:put_chars, encoding, characters}, log) do
    case :unicode.characters_to_binary(characters, encoding) do
      text when is_binary(text) -> {:ok, write(log, text, 0)}
      _ -> {{:error, :put_chars}, log}
    end
  end

  defp io({:requests, requests}, log), do: Enum.reduce(requests, {:ok, log}, fn request, {_, log} -> io(request, log) end)
  defp io({:setopts, _}, log), do: {:ok, log}
  defp io(:getopts, log), do: {[binary: true, encoding: :unicode], log}
  defp io(request, log) when elem(request, 0) in [:get_chars, :get_line, :get_until, :get_password], do: {:eof, log}
  defp io(_, log), do: {{:error, :enotsup}, log}

  defp write(%{left: left} = log, _, _) when left < 0, do: log

  defp write(log, text, flag) do
    all = log.open[flag] <> text

    size =
      case :binary.matches(all, "\n") do
        [] -> if byte_size(all) > @line_bytes, do: byte_size(all), else: 0
        found -> elem(List.last(found), 0) + 1
      end

    <<whole::binary-size(size), rest::binary>> = all
    emit(put_in(log.open[flag], rest), whole, flag)
  end

  defp emit(log, "", _), do: log
  defp emit(%{left: left} = log, _, _) when left < 0, do: log

  defp emit(log, text, flag) when byte_size(text) > log.left do
    ConstellationWorker.send_frame(log.port, @log, log.id, whole_characters(text, log.left), flag + @cut)
    %{log | left: -1}
  end

  defp emit(log, text, flag) do
    ConstellationWorker.send_frame(log.port, @log, log.id, text, flag)
    %{log | left: log.left - byte_size(text)}
  end

  defp whole_characters(text, size) when size > 0 do
    if Bitwise.band(:binary.at(text, size), 0xC0) == 0x80, do: whole_characters(text, size - 1), else: binary_part(text, 0, size)
  end

  defp whole_characters(_, _), do: ""
end

defmodule ConstellationWorker.OutputTooLarge do
  defexception [:message]
end

defmodule ConstellationWorker do
  @moduledoc "The frames, and the calls."

  alias ConstellationWorker.{Json, Log, OutputTooLarge}

  @hello 1
  @init 2
  @ready 3
  @exec 4
  @result 5
  @error 6
  @chunk 7
  @cancel 9
  @ping 10
  @pong 11
  @stop 12
  @protocol 1
  # Of an event and of an output; the platform's limit for a synchronous call.
  @max_body_bytes 6 * 1024 * 1024
  @exec_head_bytes 48
  @max_message_chars 8192
  @max_stack_chars 32_768
  @chunk_bytes 1024 * 1024

  # --- frames

  def send_frame(port, kind, call_id, body, flags \\ 0) do
    Port.command(port, [<<IO.iodata_length(body)::32, kind, flags, 0::16, call_id::32>>, body])
  rescue
    ArgumentError -> System.halt(1)
  end

  def serve do
    Process.flag(:trap_exit, true)
    port = Port.open({:fd, 3, 3}, [:binary, :stream, :eof])
    send_frame(port, @hello, 0, [field(1, @protocol), field(2, "elixir"), field(3, System.version())])
    if File.ls("/code") == {:ok, []}, do: rehearse(port)
    loop(%{port: port, parts: [], have: 0, wanted: 12, init: nil, handler: nil, calls: %{}, stopping: false})
  end

  defp loop(%{stopping: true, calls: calls}) when calls == %{}, do: System.halt(0)

  defp loop(state) do
    port = state.port

    receive do
      {^port, {:data, data}} ->
        loop(take(%{state | parts: [state.parts | data], have: state.have + byte_size(data)}))

      {:EXIT, ^port, _} ->
        System.halt(0)

      {^port, :eof} ->
        System.halt(0)

      {:DOWN, ref, :process, _, reason} when is_map_key(state.calls, ref) ->
        {{call_id, log}, calls} = Map.pop(state.calls, ref)

        # A call ends itself, unless something killed it.
        if reason != :normal do
          Log.flush(log)
          send_frame(port, @error, call_id, error_of(:exit, reason, []))
        end

        Process.exit(log, :kill)
        loop(%{state | calls: calls})

      _ ->
        loop(state)
    end
  end

  defp take(%{have: have, wanted: wanted} = state) when have < wanted, do: state

  defp take(state) do
    <<length::32, kind, _flags, _::16, call_id::32, rest::binary>> = data = IO.iodata_to_binary(state.parts)
    if length > @max_body_bytes + @exec_head_bytes, do: System.halt(1)

    case rest do
      <<body::binary-size(length), rest::binary>> ->
        take(dispatch(kind, call_id, body, %{state | parts: [rest], have: byte_size(rest), wanted: 12}))

      _ ->
        %{state | parts: [data], have: byte_size(data), wanted: 12 + length}
    end
  end

  defp dispatch(@exec, call_id, body, %{handler: handler} = state) when handler != nil do
    log = Log.start(state.port, call_id, state.init.log_limit_bytes)
    {_, ref} = spawn_monitor(fn -> call(state, call_id, body, log) end)
    %{state | calls: Map.put(state.calls, ref, {call_id, log})}
  end

  defp dispatch(@init, _, body, %{init: nil} = state), do: load(state, parse_init(body))

  defp dispatch(@ping, call_id, body, state) do
    send_frame(state.port, @pong, call_id, body)
    state
  end

  defp dispatch(@stop, _, _, state), do: %{state | stopping: true}
  defp dispatch(@cancel, _, _, state), do: state
  defp dispatch(_, _, _, _), do: System.halt(1)

  # --- protobuf's wire format, as much of it as Hello, Init and Ready need

  defp varint(value) when value > 0x7F, do: [Bitwise.bor(Bitwise.band(value, 0x7F), 0x80) | varint(Bitwise.bsr(value, 7))]
  defp varint(value), do: [value]

  defp field(number, value) when is_integer(value), do: [varint(number * 8), varint(value)]
  defp field(number, value), do: [varint(number * 8 + 2), varint(byte_size(value)), value]

  defp read_varint(data, scale \\ 1, value \\ 0)
  defp read_varint(<<0::1, byte::7, rest::binary>>, scale, value), do: {value + byte * scale, rest}
  defp read_varint(<<1::1, byte::7, rest::binary>>, scale, value), do: read_varint(rest, scale * 128, value + byte * scale)

  defp fields(""), do: []

  defp fields(data) do
    {tag, rest} = read_varint(data)
    {value, rest} = read_varint(rest)

    case rem(tag, 8) do
      0 ->
        [{div(tag, 8), value} | fields(rest)]

      2 ->
        <<text::binary-size(value), rest::binary>> = rest
        [{div(tag, 8), text} | fields(rest)]
    end
  end

  @names %{
    1 => :handler,
    2 => :function_name,
    3 => :function_version,
    4 => :tenant,
    5 => :namespace,
    6 => :memory_limit_mb,
    7 => :concurrency,
    9 => :code_dir,
    10 => :log_limit_bytes
  }

  defp parse_init(data) do
    texts = for name <- [:handler, :function_name, :function_version, :tenant, :namespace], into: %{}, do: {name, ""}
    out = Map.merge(texts, %{memory_limit_mb: 0, concurrency: 1, code_dir: "/code", log_limit_bytes: 65_536, env: %{}})

    Enum.reduce(fields(data), out, fn
      {8, entry}, out ->
        entry = Map.new(fields(entry))
        put_in(out.env[entry[1] || ""], entry[2] || "")

      {number, value}, out when is_map_key(@names, number) ->
        Map.put(out, @names[number], value)

      _, out ->
        out
    end)
  end

  # --- calls

  # In a template, whose code is not there yet: load and call a handler, so that the compiler and all else that this takes
  # is loaded when a function needs it. Nothing of it is left for the function to find.
  defp rehearse(port) do
    place = "/tmp/rehearsal"
    init = %{parse_init("") | handler: "rehearsal.handler", code_dir: place}
    File.mkdir!(place)
    source = "defmodule ConstellationRehearsal do\n  def handler(event, _), do: %{seen: event[\"name\"]}\nend\n"
    File.write!(place <> "/rehearsal.exs", source)
    handler = find_handler(init)
    log = Log.start(port, 0, -1)
    outcome(%{init: init, handler: handler, port: port}, 0, <<0::size(@exec_head_bytes)-unit(8), ~s({"name": "x"})>>, log)
    Log.flush(log)
    Process.exit(log, :kill)
    :code.delete(ConstellationRehearsal)
    :code.purge(ConstellationRehearsal)
    File.rm_rf!(place)
  end

  defp load(state, init) do
    System.put_env(init.env)
    log = Log.start(state.port, 0, init.log_limit_bytes)
    Process.group_leader(self(), log)

    try do
      handler = find_handler(init)
      Log.flush(log)
      send_frame(state.port, @ready, 0, field(1, 1))
      %{state | init: init, handler: handler}
    catch
      kind, reason ->
        failure = error_of(kind, reason, __STACKTRACE__)
        Log.flush(log)
        send_frame(state.port, @ready, 0, field(2, failure))
        System.halt(1)
    end
  end

  defp find_handler(init) do
    [_, file, name] =
      Regex.run(~r/\A(.+)\.([^.]+)\z/, init.handler) || raise ~s(the handler "#{init.handler}" must look like "file.function")

    base = Path.join(init.code_dir, String.replace(file, ".", "/"))
    path = Enum.find([base <> ".exs", base <> ".ex"], &File.regular?/1) || raise "there is no #{base}.exs or .ex"
    # What mix compile makes, packages unpacked beside it, and those of layers.
    places = for(place <- ["_build/prod/lib", "deps", "vendor"], do: "#{init.code_dir}/#{place}") ++ ["/opt/elixir"]
    for place <- places, ebin <- Path.wildcard("#{place}/*/ebin"), do: Code.append_path(ebin)
    wanted = String.to_atom(name)

    case Enum.find(Code.compile_file(path), fn {module, _} -> function_exported?(module, wanted, 2) end) do
      {module, _} -> Function.capture(module, wanted, 2)
      nil -> raise UndefinedFunctionError, message: "no module of #{Path.basename(path)} has a function #{name}/2"
    end
  end

  defp call(state, call_id, body, log) do
    Process.group_leader(self(), log)

    {kind, answer} =
      try do
        {@result, outcome(state, call_id, body, log)}
      catch
        kind, reason -> {@error, error_of(kind, reason, __STACKTRACE__)}
      end

    Log.flush(log)
    send_frame(state.port, kind, call_id, answer)
  end

  defp outcome(state, call_id, <<_::binary-size(44), flags::32, payload::binary>> = body, log) do
    event = if payload == "", do: nil, else: Json.decode(payload)
    is_streamed = Bitwise.band(flags, 1) == 1
    value = state.handler.(event, context(state.init, body, log))
    is_pieces = is_struct(value, Stream) or is_function(value, 2)

    cond do
      is_streamed ->
        Enum.each(if(is_pieces, do: value, else: [value]), &chunk(state.port, call_id, &1))
        ""

      is_pieces ->
        encode_output(Enum.to_list(value))

      true ->
        encode_output(value)
    end
  end

  defp context(init, <<head::binary-size(40), remaining::32, _::binary>>, log) do
    digits = Base.encode16(head, case: :lower)
    <<a::binary-8, b::binary-4, c::binary-4, d::binary-4, e::binary-12, trace::binary-32, span::binary-16>> = digits
    until = System.monotonic_time(:millisecond) + remaining

    Map.merge(Map.take(init, [:function_name, :function_version, :tenant, :namespace, :memory_limit_mb]), %{
      request_id: Enum.join([a, b, c, d, e], "-"),
      deadline: (System.os_time(:millisecond) + remaining) / 1000,
      trace: %{trace_id: trace, span_id: span, traceparent: "00-#{trace}-#{span}-01"},
      remaining_ms: fn -> max(0, until - System.monotonic_time(:millisecond)) end,
      logger: Map.new([:debug, :info, :warn, :error], fn level -> {level, &Log.note(log, String.upcase("#{level}"), &1)} end)
    })
  end

  defp chunk(port, call_id, piece) do
    case if(is_binary(piece), do: piece, else: encode_output(piece)) do
      <<part::binary-size(@chunk_bytes), rest::binary>> when rest != "" ->
        send_frame(port, @chunk, call_id, part)
        chunk(port, call_id, rest)

      raw ->
        send_frame(port, @chunk, call_id, raw)
    end
  end

  defp encode_output(value) do
    raw = Json.encode(value)
    size = byte_size(raw)
    if size > @max_body_bytes, do: raise(OutputTooLarge, "the output has #{size} bytes; at most #{@max_body_bytes} are carried")
    raw
  end

  # --- errors

  defp error_of(kind, reason, stack) do
    error = if kind == :error, do: Exception.normalize(:error, reason, stack)
    type = if error, do: inspect(error.__struct__), else: "#{kind}"
    message = if error, do: Exception.message(error), else: inspect(reason, limit: 20, printable_limit: 2000)
    frames = Enum.take_while(stack, fn {module, _, _, _} -> module != __MODULE__ end)
    lines = ["#{type}: #{message}" | Enum.map(frames, &("    " <> Exception.format_stacktrace_entry(&1)))]

    Json.encode(%{
      type: String.replace_prefix(type, "ConstellationWorker.", ""),
      message: readable(message, @max_message_chars),
      stack: readable(Enum.join(lines, "\n"), @max_stack_chars)
    })
  end

  defp readable(text, limit) do
    text = if String.valid?(text), do: text, else: inspect(text, binaries: :as_strings)
    String.slice(text, 0, limit)
  end
end

ConstellationWorker.serve()
