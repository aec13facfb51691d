-- What tasks have in common that come in without a slot: submitted, run by hand, or made once more.
--!include limits
--!include lib/new_task.lua
local lengths = {}

local function is_full(lane)
  lengths[lane.id] = (lengths[lane.id] or redis.call('ZCARD', key.activeq(lane.id))) + 1
  return lengths[lane.id] > limits.QUEUED_PER_HANDLER
end

-- The ledger of the trigger tells of it, and its overlap policy watches it.
local function note_by_hand(uid, task)
  -- A trigger that is gone keeps its ledger for 30 days; an entry now would begin one that nobody ever ends.
  -- equivalent if without 1: there is no trigger without a name; only the cost differs
  if uid ~= '' and redis.call('EXISTS', key.trigger(uid)) == 1 then
    redis.call('ZADD', key.ledger(uid), int(wall), 'manual ' .. task)
    local live = read_hash(key.trigger(uid), 'live')[1]
    if live then redis.call('HSET', key.trigger(uid), 'live', live .. ' ' .. task) end
  end
end
