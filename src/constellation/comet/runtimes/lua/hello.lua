local M = {}

function M.handler(event, context)
  local name = event and event.name or "world"
  return { message = "Hello, " .. name .. "!" }
end

return M
