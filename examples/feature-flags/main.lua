-- Which features a user has: a flag is for everybody, for named users, or for a share of all that stays the same for each.
local json = require("constellation.json")
local flags = require("flags")

-- FNV-1a; a user has a place of its own in each flag's hundred, so that not always the same ones go first.
local function place_of(text)
  local hash = 0x811c9dc5
  for at = 1, #text do hash = ((hash ~ text:byte(at)) * 0x01000193) & 0xffffffff end
  return hash % 100
end

local function is_on(flag, name, user)
  for _, named in ipairs(flag.users or {}) do
    if named == user then return true end
  end
  return place_of(name .. ":" .. user) < (flag.percent or 0)
end

return {
  handler = function(event)
    local on = {}
    for name, flag in pairs(flags) do
      if is_on(flag, name, event.user) then on[#on + 1] = name end
    end
    table.sort(on)
    return { user = event.user, on = json.array(on) }
  end,
}
