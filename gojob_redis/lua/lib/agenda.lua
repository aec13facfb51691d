-- A trigger's agenda: its planned slots in order. The first stands in the due index, the others in the list.
--!include limits
--!include lib/words.lua
--!include lib/hash.lua
--!include lib/timer.lua
--!include lib/due.lua
--!include lib/tally.lua

-- One ledger entry: a word, the slot, and what belongs to it. Never two for one slot: the watermark decides.
local function note_slot(uid, slot, word, detail)
  redis.call('ZADD', key.ledger(uid), slot, word .. ' ' .. int(slot) .. ' ' .. detail)
end

-- A slot that is decided and not fired.
local function skip_slot(handler, uid, slot, why)
  note_slot(uid, slot, 'skipped', why)
  happened(handler, 'k' .. why .. ' ' .. uid .. ' ' .. int(slot))
end

-- So many slots, from the first to the last of them, share one entry.
local function miss_slots(handler, uid, first, last, count, why)
  note_slot(uid, last, 'coalesced', int(first) .. ' ' .. int(count) .. ' ' .. why)
  happened(handler, 'm' .. int(count) .. ' ' .. uid .. ' ' .. int(last))
end

-- What was forgotten is counted, so that the audit can tell it from what was taken away.
local function trim_ledger(uid)
  local gone = redis.call('ZREMRANGEBYRANK', key.ledger(uid), 0, -limits.LEDGER_ENTRIES - 1)
    + redis.call('ZREMRANGEBYSCORE', key.ledger(uid), '-inf', int(wall - limits.LEDGER_MS))
  if gone > 0 then redis.call('HINCRBY', key.trigger(uid), 'trimmed', gone) end
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

-- The agenda is planned anew from the last slot that was handled, by the planner, who knows the rule.
local function hand_to_planner(trigger)
  drop_agenda(trigger.app, trigger.uid)
  redis.call('ZADD', key.unplanned, int(wall), trigger.uid)
  local since = math.max(tonumber(trigger.last_slot) or 0, tonumber(trigger.changed) or 0)
  redis.call('HSET', key.trigger(trigger.uid), 'planned', int(since))
end

-- Slots that came due and were not fired before a change took their rule away. Those up to the watermark are of a time
-- before the clock was set back and were decided then.
local function note_overtaken(app, uid)
  local facts = read_hash(key.trigger(uid), 'last_slot', 'handler')
  local watermark = tonumber(facts[1] or nil) or 0
  local slot = tonumber(redis.call('ZSCORE', key.due(app), uid) or nil)
  while slot and slot <= wall do
    if slot > watermark then
      skip_slot(facts[2] or '?', uid, slot, 'edited')
      redis.call('HSET', key.trigger(uid), 'last_slot', int(slot))
    end
    slot = tonumber(redis.call('LPOP', key.agenda(uid)) or nil)
  end
end

-- Whether slots of a rule that goes came due and were never planned: nobody can plan them once it is gone.
local function is_overtaken(was_active, over, last_planned)
  return was_active == '1' and over ~= '1' and (tonumber(last_planned or nil) or 0) <= wall
end
