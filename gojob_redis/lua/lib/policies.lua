-- Policies written as one text, such as `retries=3 run_limit=5000`: in the order of the table (domain/policies.py), and
-- only those that are not at their default.
--
-- A name that the table does not have is of a later release: it is carried along, and changes nothing here.
--!include policies
local policies_of = {}

local function is_lawful(name, value)
  local digits = POLICY_DIGITS[name]
  if digits then return #value <= digits and not string.find(value, '%D') end
  return not POLICY_DEFAULTS.__index[name] or not string.find(value, '[^%l_]')
end

-- What a text says, by name: reading gives the default of what it leaves out, `pairs` what it says. False for what
-- nobody could have written. Each text is read once a call.
local function policies_in(text)
  local cached = policies_of[text]
  if cached ~= nil then return cached end
  local policies = setmetatable({}, POLICY_DEFAULTS)
  for word in string.gmatch(text, '%S+') do
    local name, value = string.match(word, '^(%l[%l_]*)=([%w%p]+)$')
    if not name or not is_lawful(name, value) then
      policies = false
      break
    end
    policies[name] = value
  end
  policies_of[text] = policies
  return policies
end
