-- The Lua worker: reads the frames of proto/agent.proto on descriptor 3, calls the handler, answers each exec frame with
-- exactly one result or error frame. Calls come one after the other.

local OUR_DIR = arg[0]:match("^(.*/)") or "./"
local json = dofile(OUR_DIR .. "worker_json.lua")
local socket = require("socket")

local HELLO, INIT, READY, EXEC, RESULT, ERROR, CHUNK, LOG, CANCEL, PING, PONG, STOP = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
local LOG_STDERR, LOG_CUT = 1, 2
local PROTOCOL = 1
local HEADER, HEADER_BYTES = ">I4BBI2I4", 12
local EXEC_HEAD_BYTES = 48
local EXEC_STREAM = 1
local MAX_BODY_BYTES = 6 << 20 -- of an event and of an output; the platform's limit for a synchronous call
local MAX_MESSAGE_BYTES = 8 << 10
local MAX_STACK_BYTES = 32 << 10
local CHUNK_BYTES = 1 << 20
local READ_BYTES = 64 << 10
local LINE_BYTES = 4 << 10 -- a longer line is sent in pieces

local raw_exit = os.exit

-- --- frames

-- LuaSocket adopts no descriptor that it did not open: a datagram socket that is "connected" can send and receive, and its
-- number may be changed. On a stream the same two system calls do what they do on every stream.
local function adopt(descriptor)
  local channel = assert(socket.udp())
  assert(channel:setpeername("127.0.0.1", 9))
  channel:close()
  channel:setfd(descriptor)
  return channel
end

local channel = adopt(3)

local function send(kind, call_id, body, flags)
  local data = string.pack(HEADER, #body, kind, flags or 0, 0, call_id) .. body
  while #data > 0 do
    local sent = channel:send(data)
    if not sent or sent == 0 then raw_exit(1) end
    data = sent < #data and data:sub(sent + 1) or ""
  end
end

local pending, listened = "", { channel }

-- Who sleeps in read() of a unix socket is also woken when the host has taken what was written; in select() for what it asks
-- for only.
local function read(count)
  if #pending < count then
    local parts, have = { pending }, #pending
    while have < count do
      socket.select(listened)
      local part = channel:receive(math.min(math.max(count - have, READ_BYTES), CHUNK_BYTES))
      if not part or part == "" then raw_exit(0) end -- the host is gone
      parts[#parts + 1] = part
      have = have + #part
    end
    pending = table.concat(parts)
  end
  local data = pending:sub(1, count)
  pending = pending:sub(count + 1)
  return data
end

local function receive()
  local length, kind, _, _, call_id = string.unpack(HEADER, read(HEADER_BYTES))
  if length > MAX_BODY_BYTES + EXEC_HEAD_BYTES then raw_exit(1) end
  return kind, call_id, read(length)
end

-- --- protobuf's wire format, as much of it as Hello, Init and Ready need

local function varint(value)
  local out = {}
  while value > 0x7F do
    out[#out + 1] = string.char(value & 0x7F | 0x80)
    value = value >> 7
  end
  return table.concat(out) .. string.char(value)
end

local function field(number, value)
  if type(value) == "number" then return varint(number << 3) .. varint(value) end
  return varint(number << 3 | 2) .. varint(#value) .. value
end

local function fields(data, each)
  local at = 1
  local function number()
    local value, shift = 0, 0
    while true do
      local byte = data:byte(at)
      at, value = at + 1, value | (byte & 0x7F) << shift
      if byte < 0x80 then return value end
      shift = shift + 7
    end
  end
  while at <= #data do
    local tag = number()
    if tag & 7 == 0 then
      each(tag >> 3, number())
    elseif tag & 7 == 2 then
      local size = number()
      each(tag >> 3, data:sub(at, at + size - 1))
      at = at + size
    else
      error("unexpected protobuf wire type " .. (tag & 7))
    end
  end
end

local NAMES = {
  "handler", "function_name", "function_version", "tenant", "namespace", "memory_limit_mb", "concurrency",
  [9] = "code_dir", [10] = "log_limit_bytes",
}

local function parse_init(data)
  local out = {
    handler = "", function_name = "", function_version = "", tenant = "", namespace = "",
    memory_limit_mb = 0, concurrency = 1, code_dir = "/code", log_limit_bytes = 64 << 10, env = {},
  }
  fields(data, function(number, value)
    if NAMES[number] then
      out[NAMES[number]] = value
    elseif number == 8 then
      local entry = { "", "" }
      fields(value, function(key, text) entry[key] = text end)
      out.env[entry[1]] = entry[2]
    end
  end)
  return out
end

-- --- what handlers print

local CallLog = {}
CallLog.__index = CallLog

local function call_log(call_id, limit)
  return setmetatable({ call_id = call_id, left = limit, open = { [0] = "", [1] = "" } }, CallLog)
end

function CallLog:write(text, flag)
  if self.left < 0 then return end
  local all = self.open[flag] .. text
  local last = all:match(".*()\n") or (#all > LINE_BYTES and #all) or 0
  self.open[flag] = all:sub(last + 1)
  if last > 0 then self:emit(all:sub(1, last), flag) end
end

function CallLog:flush()
  for flag = 0, LOG_STDERR do
    local text = self.open[flag]
    self.open[flag] = ""
    if text ~= "" then self:emit(text, flag) end
  end
end

function CallLog:emit(raw, flag)
  if self.left < 0 then return end
  if #raw > self.left then
    local stop = self.left
    while stop > 0 and raw:byte(stop + 1) & 0xC0 == 0x80 do stop = stop - 1 end -- not within a character
    raw, flag, self.left = raw:sub(1, stop), flag | LOG_CUT, -1
  else
    self.left = self.left - #raw
  end
  send(LOG, self.call_id, raw, flag)
end

local log = call_log(0, 64 << 10)

local function stream(flag, file)
  local methods = {}
  methods.write = function(self, ...)
    for at = 1, select("#", ...) do
      local part = select(at, ...)
      if type(part) ~= "string" and type(part) ~= "number" then
        error(("bad argument #%d to 'write' (string expected, got %s)"):format(at, type(part)), 2)
      end
      log:write(tostring(part), flag)
    end
    return self
  end
  methods.flush = function(self) return self end
  methods.setvbuf = function() return true end
  methods.close = function() return true end
  methods.seek = function() return nil, "Illegal seek" end
  return setmetatable({}, { __index = methods, __name = "FILE*", __tostring = function() return tostring(file) end })
end

local function catch_output()
  io.stdout:setvbuf("no")
  io.stdout, io.stderr = stream(0, io.stdout), stream(LOG_STDERR, io.stderr)
  local chosen, raw_output = io.stdout, io.output
  io.write = function(...) return chosen:write(...) end
  io.output = function(file)
    if file ~= nil then chosen = type(file) == "string" and assert(io.open(file, "w")) or file end
    return chosen
  end
  io.close = function(file) return (file or chosen):close() end
  raw_output(io.tmpfile())
  print = function(...)
    local parts = table.pack(...)
    for at = 1, parts.n do parts[at] = tostring(parts[at]) end
    log:write(table.concat(parts, "\t") .. "\n", 0)
  end
  os.exit = function(status, ...)
    log:flush()
    raw_exit(status, ...)
  end
end

-- --- what handlers get and give

local logger = {}
for _, level in ipairs({ "debug", "info", "warn", "error" }) do
  logger[level] = function(_, message) log:write(level:upper() .. " " .. tostring(message) .. "\n", LOG_STDERR) end
end

local function hex(bytes)
  return (bytes:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end))
end

-- `deadline` is in Unix seconds; LuaSocket's clock is the one with parts of a second.
local function context_of(init, head)
  local digits, remaining = hex(head:sub(1, 40)), string.unpack(">I4", head, 41)
  local trace = { trace_id = digits:sub(33, 64), span_id = digits:sub(65, 80) }
  trace.traceparent = ("00-%s-%s-01"):format(trace.trace_id, trace.span_id)
  local deadline = socket.gettime() + remaining / 1000
  return {
    request_id = ("%s-%s-%s-%s-%s"):format(digits:sub(1, 8), digits:sub(9, 12), digits:sub(13, 16), digits:sub(17, 20), digits:sub(21, 32)),
    function_name = init.function_name,
    function_version = init.function_version,
    tenant = init.tenant,
    namespace = init.namespace,
    memory_limit_mb = init.memory_limit_mb,
    deadline = deadline,
    trace = trace,
    logger = logger,
    remaining_ms = function() return math.max(0, math.floor((deadline - socket.gettime()) * 1000)) end,
  }
end

local function encode_output(value)
  local raw = json.encode(value)
  if #raw > MAX_BODY_BYTES then
    error({ type = "OutputTooLarge", message = ("the output has %d bytes; at most %d are carried"):format(#raw, MAX_BODY_BYTES) }, 0)
  end
  return raw
end

local function readable(text)
  return utf8.len(text) and text or text:gsub("[\x80-\xFF]", "?")
end

-- Lua's handler of errors, called where it happened: what it was, and the part of the stack that is user code.
local function failure_of(value)
  local kind, message = "Error", nil
  if type(value) == "table" and rawget(value, "message") ~= nil then
    kind, message = tostring(value.type or value.name or kind), tostring(value.message)
  else
    message = tostring(value)
  end
  local lines = {}
  for line in debug.traceback("", 2):gmatch("\n\t([^\n]+)") do
    if line:find(OUR_DIR, 1, true) then break end
    if not line:find("^%[C%]: in function 'error'") then lines[#lines + 1] = "    at " .. line end
  end
  table.insert(lines, 1, kind .. ": " .. message)
  return {
    type = kind,
    message = readable(message:sub(1, MAX_MESSAGE_BYTES)),
    stack = readable(table.concat(lines, "\n"):sub(1, MAX_STACK_BYTES)),
  }
end

-- --- calls

local init, handler

local function find_handler()
  local file, name = init.handler:match("^(.+)%.([^.]+)$")
  if not file then error(("the handler '%s' must look like \"file.function\""):format(init.handler), 0) end
  local code, module = init.code_dir, file:gsub("/", ".")
  local places = {}
  for _, place in ipairs({ "", "/lib", "/vendor", "/deps", "/vendor/share/lua/5.4", "/deps/share/lua/5.4" }) do
    places[#places + 1] = code .. place .. "/?.lua;" .. code .. place .. "/?/init.lua"
  end
  for _, place in ipairs({ "/opt/lua", "/opt/lua/share/lua/5.4" }) do -- of layers
    places[#places + 1] = place .. "/?.lua;" .. place .. "/?/init.lua"
  end
  package.path = table.concat(places, ";") .. ";" .. package.path
  for _, place in ipairs({ "/opt/lua", code .. "/vendor", code .. "/deps" }) do -- as luarocks --tree makes them
    package.cpath = place .. "/lib/lua/5.4/?.so;" .. package.cpath
  end
  local path = code .. "/" .. module:gsub("%.", "/")
  local found = io.open(path .. ".lua") or io.open(path .. "/init.lua")
  if not found then error("there is no " .. path .. ".lua", 0) end
  found:close()
  arg = { [0] = path .. ".lua" }
  local loaded = require(module)
  local chosen = type(loaded) == "table" and loaded[name] or rawget(_G, name)
  if chosen == nil then error(("%s.lua has no %s, neither in what it returns nor as a global"):format(module, name), 0) end
  if type(chosen) ~= "function" then error(("%s is a %s, not a function"):format(init.handler, type(chosen)), 0) end
  return chosen
end

local function set_environment(env)
  local raw_getenv = os.getenv
  os.getenv = function(name)
    if env[name] ~= nil then return env[name] end
    return raw_getenv(name)
  end
end

local function load_function(body)
  init = parse_init(body)
  log = call_log(0, init.log_limit_bytes)
  catch_output()
  set_environment(init.env)
  package.loaded["constellation.json"] = json
  local is_done, found = xpcall(find_handler, failure_of)
  log:flush()
  if not is_done then
    send(READY, 0, field(2, json.encode(found)))
    raw_exit(1)
  end
  handler = found
  send(READY, 0, field(1, 1))
end

-- What a handler streams: a coroutine's yields, or what an iterator returns until nil.
local function pieces_of(value)
  if type(value) == "function" then return value end
  if type(value) ~= "thread" then return nil end
  return function()
    if coroutine.status(value) == "dead" then return nil end
    local is_fine, piece = coroutine.resume(value)
    if not is_fine then error(piece, 0) end
    return piece
  end
end

local function chunk(call_id, piece)
  local raw = type(piece) == "string" and piece or encode_output(piece)
  for at = 1, #raw, CHUNK_BYTES do send(CHUNK, call_id, raw:sub(at, at + CHUNK_BYTES - 1)) end
end

local function outcome(call_id, body)
  local event = #body > EXEC_HEAD_BYTES and json.decode(body:sub(EXEC_HEAD_BYTES + 1)) or nil
  if event == json.null then event = nil end
  local is_streamed = string.unpack(">I4", body, 45) & EXEC_STREAM ~= 0
  local value = handler(event, context_of(init, body))
  local pieces = pieces_of(value)
  if not pieces then
    if not is_streamed then return encode_output(value) end
    chunk(call_id, value)
    return ""
  end
  local listed = json.array()
  for piece in pieces do
    if is_streamed then chunk(call_id, piece) else listed[#listed + 1] = piece end
  end
  return is_streamed and "" or encode_output(listed)
end

local function call(call_id, body)
  log = call_log(call_id, init.log_limit_bytes)
  local is_done, answer = xpcall(outcome, failure_of, call_id, body)
  log:flush()
  log = call_log(0, init.log_limit_bytes)
  send(is_done and RESULT or ERROR, call_id, is_done and answer or json.encode(answer))
end

send(HELLO, 0, field(1, PROTOCOL) .. field(2, "lua") .. field(3, _VERSION:match("%S+$")))
while true do
  local kind, call_id, body = receive()
  if kind == EXEC and handler then call(call_id, body)
  elseif kind == INIT and not init then load_function(body)
  elseif kind == PING then send(PONG, call_id, body)
  elseif kind == STOP then os.exit(0)
  elseif kind ~= CANCEL then raw_exit(1) end
end
