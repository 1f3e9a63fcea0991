-- @name@: called with the request's JSON; what it returns becomes the answer's `output`.

local M = {}

function M.handler(event, context)
  local name = event and event.name or "world"
  print("greeting " .. name) -- shown by `orbit logs @name@`
  return { message = "Hello, " .. name .. "!" }
end

return M
