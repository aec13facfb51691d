-- Keys that callers give their tasks. `keyed` holds `key app task` of each, joined by \31, in the order of keys and, of one
-- key in one app, of ids: those of submissions are in the order in which they were made.
--!include limits
--!include lib/filed.lua
--!include lib/record.lua
local function keyed_as(own_key, app, task)
  return own_key .. '\31' .. app .. '\31' .. task
end

local function add_key(own_key, app, task)
  redis.call('ZADD', key.keyed, 0, keyed_as(own_key, app, task))
end

-- A task of this app with this key that is not over, among the newest hundred; nil when there is none.
local function live_with_key(own_key, app)
  local before = keyed_as(own_key, app, '')
  local members = redis.call('ZRANGE', key.keyed, '(' .. own_key .. '\31' .. app .. '\32', '[' .. before, 'BYLEX', 'REV',
    'LIMIT', 0, limits.BATCH_ITEMS)
  for _, member in ipairs(members) do
    local fields = record(string.sub(member, #before + 1))
    if fields and WORDS.state[fields.state] and not TERMINAL[fields.state] then return fields.run end
  end
  return nil
end
