# The Julia worker: reads the frames of proto/agent.proto on descriptor 3, calls the handler, answers each exec frame with
# exactly one result or error frame. Calls come one after the other. What a handler prints is the process's own output,
# which the host gives to the call in hand.

module ConstellationWorker

include("worker_json.jl")
using .ConstellationJson: Misfit, read_json, write_json

const HELLO, INIT, READY, EXEC, RESULT, ERROR, CHUNK = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07
const CANCEL, PING, PONG, STOP = 0x09, 0x0a, 0x0b, 0x0c
const CHANNEL_FD = Cint(3)
const HEADER_BYTES, EXEC_HEAD_BYTES = 12, 48
const MAX_BODY_BYTES = 6 << 20 # of an event and of an output; the platform's limit for a synchronous call
const CHUNK_BYTES = 1 << 20
const MAX_MESSAGE_CHARS, MAX_STACK_CHARS = 8 << 10, 32 << 10

struct OutputTooLarge <: Exception
    size::Int
end
Base.showerror(io::IO, error::OutputTooLarge) =
    print(io, "the output has $(error.size) bytes; at most $MAX_BODY_BYTES are carried")

# --- frames

leave(status) = ccall(:_exit, Cvoid, (Cint,), status)

function write_all(data::Vector{UInt8})
    at = 1
    while at <= length(data)
        wrote = GC.@preserve data ccall(:write, Cssize_t, (Cint, Ptr{UInt8}, Csize_t), CHANNEL_FD, pointer(data, at), length(data) - at + 1)
        if wrote < 0
            Libc.errno() == Libc.EINTR || leave(1) # nobody is left to talk to
        else
            at += wrote
        end
    end
end

function read_bytes(count)
    data = Vector{UInt8}(undef, count)
    at = 1
    while at <= count
        got = GC.@preserve data ccall(:read, Cssize_t, (Cint, Ptr{UInt8}, Csize_t), CHANNEL_FD, pointer(data, at), count - at + 1)
        if got < 0
            Libc.errno() == Libc.EINTR || leave(1)
        elseif got == 0
            leave(0) # the host is gone
        else
            at += got
        end
    end
    data
end

big_endian(value::UInt32) = reinterpret(UInt8, [hton(value)])
number_of(bytes) = ntoh(only(reinterpret(UInt32, collect(bytes))))

function send(kind, call_id, body = UInt8[])
    frame = UInt8[]
    sizehint!(frame, HEADER_BYTES + length(body))
    append!(frame, big_endian(UInt32(length(body))), (kind, 0x00, 0x00, 0x00), big_endian(call_id), body)
    write_all(frame)
end

function receive()
    header = read_bytes(HEADER_BYTES)
    size = number_of(header[1:4])
    size <= MAX_BODY_BYTES + EXEC_HEAD_BYTES || leave(1)
    (kind = header[5], call_id = number_of(header[9:12]), body = read_bytes(Int(size)))
end

# --- protobuf's wire format, as much of it as Hello, Init and Ready need

function varint(value)
    out = UInt8[]
    while value > 0x7f
        push!(out, UInt8(value & 0x7f) | 0x80)
        value >>= 7
    end
    push!(out, UInt8(value))
end

field(number, value::Integer) = [varint(number << 3); varint(value)]
field(number, value::AbstractString) = field(number, collect(codeunits(value)))
field(number, value::Vector{UInt8}) = [varint(number << 3 | 2); varint(length(value)); value]

# Call `each` with the number of every field and its number or bytes.
function fields(each, data)
    at = 1
    function number()
        value, shift = UInt64(0), 0
        while true
            byte = data[at]
            at += 1
            value |= UInt64(byte & 0x7f) << shift
            byte < 0x80 && return value
            shift += 7
        end
    end
    while at <= length(data)
        tag = number()
        value = number()
        if tag & 7 == 2
            each(Int(tag >> 3), data[at:at+Int(value)-1])
            at += Int(value)
        else
            each(Int(tag >> 3), value)
        end
    end
end

mutable struct Init
    handler::String
    function_name::String
    function_version::String
    tenant::String
    namespace::String
    memory_limit_mb::Int
    code_dir::String
end

function take_init(data)
    init = Init("", "", "", "", "", 0, "/code")
    texts = Dict(1 => :handler, 2 => :function_name, 3 => :function_version, 4 => :tenant, 5 => :namespace, 9 => :code_dir)
    fields(data) do number, value
        if haskey(texts, number)
            setfield!(init, texts[number], String(value))
        elseif number == 6
            init.memory_limit_mb = Int(value)
        elseif number == 8
            entry = ["", ""]
            fields((key, text) -> entry[key] = String(text), value)
            ENV[entry[1]] = entry[2]
        end
    end
    init
end

# --- what handlers get and give

struct Trace
    trace_id::String
    span_id::String
    traceparent::String
end

# `context.logger.info("text")`
struct Logger end
function Base.getproperty(::Logger, level::Symbol)
    level in (:debug, :info, :warn, :error) || throw(ArgumentError("there is no level $level"))
    (parts...) -> println(stderr, uppercase(string(level)), ' ', parts...)
end

struct Context
    request_id::String
    function_name::String
    function_version::String
    tenant::String
    namespace::String
    memory_limit_mb::Int
    deadline::Float64
    trace::Trace
    logger::Logger
    remaining_ms::Function
end

function context_of(init, head)
    digits = bytes2hex(head[1:40])
    id = join((digits[1:8], digits[9:12], digits[13:16], digits[17:20], digits[21:32]), '-')
    trace_id, span_id = digits[33:64], digits[65:80]
    remaining = number_of(head[41:44])
    until_ns = time_ns() + UInt64(remaining) * 1_000_000
    left() = max(0, Int(div(Int128(until_ns) - time_ns(), 1_000_000)))
    Context(
        id, init.function_name, init.function_version, init.tenant, init.namespace, init.memory_limit_mb,
        time() + remaining / 1000, Trace(trace_id, span_id, "00-$trace_id-$span_id-01"), Logger(), left,
    )
end

function encode_output(value)
    body = collect(codeunits(write_json(value)))
    length(body) <= MAX_BODY_BYTES || throw(OutputTooLarge(length(body)))
    body
end

# `place` is the function's directory: frames outside it are ours or Julia's.
function encode_error(error, trace, place)
    message = first(sprint(showerror, error), MAX_MESSAGE_CHARS)
    kind = error isa Misfit ? "TypeError" : string(nameof(typeof(error)))
    lines = ["$kind: $message"]
    for frame in trace
        file = string(frame.file)
        startswith(file, place) && push!(lines, "    in $(frame.func), at $file:$(frame.line)")
    end
    encoded = write_json((type = kind, message = message, stack = first(join(lines, '\n'), MAX_STACK_CHARS)))
    collect(codeunits(encoded))
end

# --- calls

function find_handler(init)
    parts = match(r"^(.+)\.([^.]+)$", init.handler)
    parts === nothing && error("the handler \"$(init.handler)\" must look like \"file.function\"")
    path = joinpath(init.code_dir, replace(parts[1], '.' => '/') * ".jl")
    isfile(path) || error("there is no $path")
    cd(init.code_dir)
    for place in (joinpath(init.code_dir, "vendor"), init.code_dir)
        isdir(place) && pushfirst!(LOAD_PATH, place)
    end
    Base.include(Main, path)
    name = Symbol(parts[2])
    Base.invokelatest(isdefined, Main, name) || error("$(basename(path)) defines no function $name")
    Base.invokelatest(getfield, Main, name)
end

raw(piece::AbstractVector{UInt8}) = collect(piece)
raw(piece::AbstractString) = collect(codeunits(piece))
raw(piece) = encode_output(piece)

function send_piece(call_id, piece)
    body = raw(piece)
    for at in 1:CHUNK_BYTES:length(body)
        send(CHUNK, call_id, body[at:min(length(body), at + CHUNK_BYTES - 1)])
    end
end

function outcome(handler, init, call_id, body)
    event = length(body) > EXEC_HEAD_BYTES ? read_json(String(body[EXEC_HEAD_BYTES+1:end])) : nothing
    is_streamed = body[48] & 0x01 == 0x01
    value = Base.invokelatest(handler, event, context_of(init, body))
    if value isa Channel # pieces, as they come
        is_streamed || return encode_output(collect(value))
        for piece in value
            send_piece(call_id, piece)
        end
        return UInt8[]
    end
    is_streamed || return encode_output(value)
    send_piece(call_id, value)
    UInt8[]
end

function settle()
    flush(stdout)
    flush(stderr)
end

function call(handler, init, frame)
    kind, answer = RESULT, UInt8[]
    try
        answer = outcome(handler, init, frame.call_id, frame.body)
    catch error
        kind, answer = ERROR, encode_error(error, stacktrace(catch_backtrace()), init.code_dir)
    end
    settle()
    send(kind, frame.call_id, answer)
end

function load(body)
    init = take_init(body)
    try
        handler = find_handler(init)
        settle()
        send(READY, UInt32(0), field(1, 1))
        return init, handler
    catch error
        told = encode_error(error isa LoadError ? error.error : error, stacktrace(catch_backtrace()), init.code_dir)
        settle()
        send(READY, UInt32(0), field(2, told))
        leave(1)
    end
end

function serve()
    send(HELLO, UInt32(0), [field(1, 1); field(2, "julia"); field(3, string(VERSION))])
    init, handler = nothing, nothing
    while true
        frame = receive()
        if frame.kind == EXEC && handler !== nothing
            call(handler, init, frame)
        elseif frame.kind == INIT && init === nothing
            init, handler = load(frame.body)
        elseif frame.kind == PING
            send(PONG, frame.call_id, frame.body)
        elseif frame.kind == STOP
            exit(0)
        elseif frame.kind != CANCEL
            leave(1)
        end
    end
end

end

ConstellationWorker.serve()
