# JSON to and from Dict, Vector, String, Int64, Float64, Bool and nothing; out of named tuples, other numbers and texts, too.
module ConstellationJson

const MAX_DEPTH = 500

struct Misfit <: Exception
    message::String
end
Base.showerror(io::IO, error::Misfit) = print(io, error.message)

# --- writing

write_json(value) = sprint(io -> put(io, value, "output", 0))

misfit(place, what) = throw(Misfit("the output is not JSON: $(first(place, 200)) $what"))

put(io, ::Nothing, place, depth) = print(io, "null")
put(io, ::Missing, place, depth) = print(io, "null")
put(io, value::Bool, place, depth) = print(io, value)
put(io, value::Integer, place, depth) = print(io, value)
put(io, value::Union{AbstractString,Symbol,Char}, place, depth) = quoted(io, string(value))

function put(io, value::Real, place, depth)
    number = Float64(value)
    isfinite(number) || misfit(place, "is $value")
    print(io, number)
end

function put(io, value::Union{AbstractDict,NamedTuple}, place, depth)
    depth < MAX_DEPTH || misfit(place, "is nested too deeply")
    print(io, '{')
    separator = ""
    for (name, member) in pairs(value)
        print(io, separator)
        quoted(io, string(name))
        print(io, ':')
        put(io, member, "$place.$name", depth + 1)
        separator = ","
    end
    print(io, '}')
end

function put(io, value::Union{AbstractArray,Tuple,AbstractSet}, place, depth)
    depth < MAX_DEPTH || misfit(place, "is nested too deeply")
    print(io, '[')
    for (index, item) in enumerate(value)
        index == 1 || print(io, ',')
        put(io, item, "$place[$index]", depth + 1)
    end
    print(io, ']')
end

put(io, value, place, depth) = misfit(place, "is a $(typeof(value))")

function quoted(io, text)
    print(io, '"')
    for letter in text
        if letter == '"' || letter == '\\'
            print(io, '\\', letter)
        elseif !isvalid(letter)
            print(io, '\ufffd')
        elseif letter < ' '
            print(io, "\\u", string(UInt32(letter); base = 16, pad = 4))
        else
            print(io, letter)
        end
    end
    print(io, '"')
end

# --- reading

mutable struct Reader
    text::Vector{UInt8}
    at::Int
end

function read_json(text::AbstractString)
    reader = Reader(collect(codeunits(text)), 1)
    value = take_value(reader, 0)
    space(reader)
    reader.at > length(reader.text) || wrong(reader, "the end")
    value
end

wrong(reader, wanted) = error("not JSON at byte $(reader.at): $wanted was expected")

function space(reader)
    while reader.at <= length(reader.text) && reader.text[reader.at] in (0x20, 0x09, 0x0a, 0x0d)
        reader.at += 1
    end
end

function peek(reader, wanted = "a value")
    space(reader)
    reader.at <= length(reader.text) || wrong(reader, wanted)
    Char(reader.text[reader.at])
end

function word(reader, text, value)
    last = reader.at + ncodeunits(text) - 1
    fits = last <= length(reader.text) && view(reader.text, reader.at:last) == codeunits(text)
    fits || wrong(reader, text)
    reader.at = last + 1
    value
end

function take_value(reader, depth)
    depth <= MAX_DEPTH || wrong(reader, "less depth")
    found = peek(reader)
    found == 'n' && return word(reader, "null", nothing)
    found == 't' && return word(reader, "true", true)
    found == 'f' && return word(reader, "false", false)
    found == '"' && return take_text(reader)
    found == '[' && return take_list(reader, depth)
    found == '{' && return take_object(reader, depth)
    take_number(reader)
end

function goes_on(reader, ending)
    found = peek(reader, "a comma")
    found == ',' || found == ending || wrong(reader, "a comma")
    reader.at += 1
    found == ','
end

function take_list(reader, depth)
    items = Any[]
    reader.at += 1
    if peek(reader) == ']'
        reader.at += 1
        return items
    end
    while true
        push!(items, take_value(reader, depth + 1))
        goes_on(reader, ']') || return items
    end
end

function take_object(reader, depth)
    members = Dict{String,Any}()
    reader.at += 1
    if peek(reader) == '}'
        reader.at += 1
        return members
    end
    while true
        peek(reader, "a name") == '"' || wrong(reader, "a name")
        name = take_text(reader)
        peek(reader, "a colon") == ':' || wrong(reader, "a colon")
        reader.at += 1
        members[name] = take_value(reader, depth + 1)
        goes_on(reader, '}') || return members
    end
end

function take_number(reader)
    from = reader.at
    while reader.at <= length(reader.text) && Char(reader.text[reader.at]) in "0123456789+-.eE"
        reader.at += 1
    end
    digits = String(reader.text[from:reader.at-1])
    whole = tryparse(Int64, digits)
    whole === nothing || return whole
    number = tryparse(Float64, digits)
    number === nothing ? wrong(reader, "a value") : number
end

const ESCAPES = Dict('b' => '\b', 'f' => '\f', 'n' => '\n', 'r' => '\r', 't' => '\t', '"' => '"', '\\' => '\\', '/' => '/')

function take_text(reader)
    out = IOBuffer()
    reader.at += 1
    while reader.at <= length(reader.text)
        byte = reader.text[reader.at]
        reader.at += 1
        if byte == UInt8('"')
            return String(take!(out))
        elseif byte != UInt8('\\')
            write(out, byte)
        else
            reader.at <= length(reader.text) || break
            letter = Char(reader.text[reader.at])
            reader.at += 1
            if letter == 'u'
                print(out, take_character(reader))
            else
                haskey(ESCAPES, letter) || wrong(reader, "an escape")
                print(out, ESCAPES[letter])
            end
        end
    end
    wrong(reader, "a quote")
end

function four_digits(reader)
    reader.at + 3 <= length(reader.text) || wrong(reader, "four digits")
    unit = tryparse(UInt32, String(reader.text[reader.at:reader.at+3]); base = 16)
    unit === nothing && wrong(reader, "four digits")
    reader.at += 4
    unit
end

function take_character(reader)
    unit = four_digits(reader)
    is_high = 0xd800 <= unit < 0xdc00
    if is_high && reader.at + 1 <= length(reader.text) && reader.text[reader.at:reader.at+1] == b"\\u"
        reader.at += 2
        low = four_digits(reader)
        0xdc00 <= low < 0xe000 && return Char(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
        return '\ufffd'
    end
    0xd800 <= unit < 0xe000 ? '\ufffd' : Char(unit)
end

end
