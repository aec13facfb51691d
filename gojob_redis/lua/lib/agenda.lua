-- A trigger's agenda: its planned slots in order. The first stands in the due index, the others in the list.
--!include lib/words.lua
--!include lib/event.lua
--!include lib/timer.lua
--!include lib/due.lua
local LEDGER_KEEP, LEDGER_MS = 1000, 30 * 86400000

-- One ledger entry: a word, the slot, and what belongs to it. Never two for one slot: the watermark decides.
local function note_slot(uid, slot, word, detail)
  redis.call('ZADD', key.ledger(uid), int(slot), word .. ' ' .. int(slot) .. ' ' .. detail)
end

local function trim_ledger(uid)
  redis.call('ZREMRANGEBYRANK', key.ledger(uid), 0, -LEDGER_KEEP - 1)
  redis.call('ZREMRANGEBYSCORE', key.ledger(uid), '-inf', int(wall - LEDGER_MS))
end

-- Puts planned slots behind what is there: the first into the due index when nothing of this trigger stands in it.
local function extend_agenda(app, uid, times)
  local from = 1
  if times[1] and not redis.call('ZSCORE', key.due(app), uid) then
    add_due(app, uid, tonumber(times[1]))
    from = 2
  end
  if times[from] then redis.call('RPUSH', key.agenda(uid), unpack(times, from)) end
end

local function drop_agenda(app, uid)
  redis.call('ZREM', key.due(app), uid)
  redis.call('ZREM', key.unplanned, uid)
  redis.call('UNLINK', key.agenda(uid))
  touch_due(app)
end
