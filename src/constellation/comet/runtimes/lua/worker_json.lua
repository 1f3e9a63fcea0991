-- JSON to Lua and back. Lua has neither null nor a difference between an empty array and an empty object: `null` stands
-- for the one, and decoded arrays carry the metatable `array` for the other. Integers stay integers.

local json = {}

json.null = setmetatable({}, { __name = "null", __tostring = function() return "null" end })
json.array_mt = { __name = "array" }

local MAX_DEPTH = 100 -- chosen: far more than data has, far less than the C stack holds
local UNESCAPED = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }
local ESCAPED = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }
local find, sub, byte, match, format = string.find, string.sub, string.byte, string.match, string.format

--- Mark a table as an array, which shows when it is empty.
function json.array(items)
  return setmetatable(items or {}, json.array_mt)
end

-- --- decoding

local decode_value

local function unexpected(at)
  error("the event is not JSON at byte " .. at, 0)
end

local function decode_string(text, at)
  local stop = find(text, '["\\]', at)
  if not stop then unexpected(at) end
  if byte(text, stop) == 34 then return sub(text, at, stop - 1), stop + 1 end
  local parts = {}
  while true do
    parts[#parts + 1] = sub(text, at, stop - 1)
    if byte(text, stop) == 34 then return table.concat(parts), stop + 1 end
    local letter = sub(text, stop + 1, stop + 1)
    if letter == "u" then
      local code = tonumber(match(text, "^%x%x%x%x", stop + 2) or unexpected(stop), 16)
      at = stop + 6
      local low = code >= 0xD800 and code < 0xDC00 and match(text, "^\\u([dD][c-fC-F]%x%x)", at)
      if low then
        code = 0x10000 + ((code & 0x3FF) << 10) + (tonumber(low, 16) & 0x3FF)
        at = at + 6
      elseif code >= 0xD800 and code < 0xE000 then
        code = 0xFFFD -- half a pair: UTF-8 has no bytes for it
      end
      parts[#parts + 1] = utf8.char(code)
    else
      parts[#parts + 1] = UNESCAPED[letter] or unexpected(stop)
      at = stop + 2
    end
    stop = find(text, '["\\]', at)
    if not stop then unexpected(at) end
  end
end

local function decode_array(text, at, depth)
  local items, count = setmetatable({}, json.array_mt), 0
  at = find(text, "[^ \t\r\n]", at) or unexpected(at)
  if byte(text, at) == 93 then return items, at + 1 end
  while true do
    count = count + 1
    items[count], at = decode_value(text, at, depth)
    at = find(text, "[^ \t\r\n]", at) or unexpected(at)
    local mark = byte(text, at)
    if mark == 93 then return items, at + 1 end
    if mark ~= 44 then unexpected(at) end
    at = at + 1
  end
end

local function decode_object(text, at, depth)
  local items = {}
  at = find(text, "[^ \t\r\n]", at) or unexpected(at)
  if byte(text, at) == 125 then return items, at + 1 end
  while true do
    at = match(text, '^[ \t\r\n]*"()', at) or unexpected(at)
    local key
    key, at = decode_string(text, at)
    at = match(text, "^[ \t\r\n]*:()", at) or unexpected(at)
    items[key], at = decode_value(text, at, depth)
    at = find(text, "[^ \t\r\n]", at) or unexpected(at)
    local mark = byte(text, at)
    if mark == 125 then return items, at + 1 end
    if mark ~= 44 then unexpected(at) end
    at = at + 1
  end
end

local WORDS = { t = { "true", true }, f = { "false", false }, n = { "null", json.null } }

decode_value = function(text, at, depth)
  at = find(text, "[^ \t\r\n]", at) or unexpected(at)
  local mark = sub(text, at, at)
  if mark == '"' then return decode_string(text, at + 1) end
  if depth > 190 then error("the event is nested too deeply", 0) end -- LUAI_MAXCCALLS is 200
  if mark == "{" then return decode_object(text, at + 1, depth + 1) end
  if mark == "[" then return decode_array(text, at + 1, depth + 1) end
  local word = WORDS[mark]
  if word and sub(text, at, at + #word[1] - 1) == word[1] then return word[2], at + #word[1] end
  local digits = match(text, "^-?%d+[%d.eE+-]*", at)
  local number = digits and tonumber(digits)
  if not number then unexpected(at) end
  return number, at + #digits
end

--- Return the value of a JSON text.
function json.decode(text)
  local value, at = decode_value(text, 1, 0)
  if find(text, "[^ \t\r\n]", at) then unexpected(at) end
  return value
end

-- --- encoding

local function misfit(place, what)
  error("the output is not JSON: " .. sub(place, 1, 200) .. " is " .. what, 0)
end

local function quoted(text)
  return '"' .. text:gsub('[%c"\\]', function(mark)
    return ESCAPED[mark] or (mark ~= "\127" and format("\\u%04x", byte(mark))) or nil
  end) .. '"'
end

local function below(parent, key)
  return key == nil and parent or parent .. "." .. tostring(key)
end

local function number_text(value, parent, key)
  if math.type(value) == "integer" then return format("%d", value) end
  if value ~= value or value == math.huge or value == -math.huge then misfit(below(parent, key), tostring(value)) end
  local short = format("%.15g", value)
  if tonumber(short) ~= value then short = format("%.17g", value) end
  return find(short, "[.e]") and short or short .. ".0"
end

local encode_value

local function encode_table(value, place, depth, out)
  if depth >= MAX_DEPTH then misfit(place, "nested too deeply or holds itself") end
  local count = #value
  if getmetatable(value) == json.array_mt or count > 0 then
    for key in pairs(value) do
      if math.type(key) ~= "integer" or key < 1 or key > count then misfit(place, "a table with both items and names, or with gaps") end
    end
    out[#out + 1] = "["
    for at = 1, count do
      if at > 1 then out[#out + 1] = "," end
      encode_value(value[at], place, at, depth + 1, out)
    end
    out[#out + 1] = "]"
    return
  end
  local before = "{"
  for key, item in pairs(value) do
    if type(key) ~= "string" and type(key) ~= "number" then misfit(place, "a table with a key of type " .. type(key)) end
    out[#out + 1] = before
    out[#out + 1] = quoted(tostring(key))
    out[#out + 1] = ":"
    encode_value(item, place, key, depth + 1, out)
    before = ","
  end
  out[#out + 1] = before == "{" and "{}" or "}"
end

encode_value = function(value, parent, key, depth, out)
  local kind = type(value)
  if kind == "string" then out[#out + 1] = quoted(value)
  elseif kind == "number" then out[#out + 1] = number_text(value, parent, key)
  elseif kind == "boolean" then out[#out + 1] = tostring(value)
  elseif value == nil or value == json.null then out[#out + 1] = "null"
  elseif kind == "table" then encode_table(value, below(parent, key), depth, out)
  else misfit(below(parent, key), "a " .. kind) end
end

--- Return a value as JSON; an error names the place of what JSON can not hold.
function json.encode(value)
  local out = {}
  encode_value(value, "$", nil, 0, out)
  local text = table.concat(out)
  if not utf8.len(text) then misfit("$", "text that is not UTF-8") end
  return text
end

return json
