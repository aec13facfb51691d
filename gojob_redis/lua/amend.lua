-- Write down what an audit found, and mend it: a slot that nobody handled enters the ledger as missed (it is not fired
-- any more), an agenda that passes over a slot is planned anew. Refused when the trigger moved since it was looked at.
--
-- ARGV   now_ms   int  =clock   0 = ask Redis
-- ITEM   uid        str
--        revision   int   as the audit saw it
--        audited    str   as the audit saw it, empty when there was none
--        kind       str   hole | missed | gap | double | stray | disputed | skipped_over | compared
--        first      int   the slot, or the first of several; of skipped_over the due slot the audit saw, 0 = none;
--                         of compared the watermark
--        last       int   the last; of skipped_over the slot that comes next; of compared how far it was compared
--        slots      int   how many slots; of compared how many entries the audit counted
--        detail     str   of missed the id the slot's task would have; of compared the due slot; else a remark
-- REPLY  ok ; no_epoch
-- EACH   word   ok | stale | gone
-- FLAGS  allow-oom
-- COST   O(items)
--!include lib/clock.lua
--!include lib/agenda.lua
local added = {}

local function tell_finding(kind, trigger, first, last, count, detail)
  event(kind, 'app', trigger.app, 'trigger', trigger.name or '', 'uid', trigger.uid, 'slot', int(first),
    'last', int(last), 'count', int(count), 'detail', detail)
end

-- One slot has one entry; the entry of a run by hand is no slot's.
local function is_taken(uid, slot)
  for _, entry in ipairs(redis.call('ZRANGE', key.ledger(uid), int(slot), int(slot), 'BYSCORE')) do
    if string.sub(entry, 1, 7) ~= 'manual ' then return true end
  end
  return false
end

-- Only below the watermark: a slot above it can still be handled.
local function may_add(trigger, slot)
  return slot <= (tonumber(trigger.last_slot) or 0) and not is_taken(trigger.uid, slot)
end

local function count_entry(trigger)
  added[trigger.uid] = (added[trigger.uid] or 0) + 1
end

local amend = {}

function amend.hole(trigger, first, last, count, detail)
  tell_finding('ledger_hole', trigger, first, last, count, detail)
end

-- The task of the slot, where it still exists, says that it was fired, and how late.
function amend.missed(trigger, slot, _, _, task)
  if not may_add(trigger, slot) then return end
  local made_at = redis.pcall('HGET', key.task(task), 'made')
  made_at = type(made_at) == 'string' and tonumber(made_at)
  if made_at then
    note_slot(trigger.uid, slot, 'fired', int(made_at - slot))
  else
    skip_slot(trigger.handler or '?', trigger.uid, slot, 'hole')
  end
  count_entry(trigger)
end

function amend.gap(trigger, first, last, count)
  if not may_add(trigger, last) then return end
  miss_slots(trigger.handler or '?', trigger.uid, first, last, count, 'hole')
  count_entry(trigger)
end

function amend.double(trigger, first, last, count, detail)
  tell_finding('ledger_double', trigger, first, last, count, detail)
end

function amend.stray(trigger, first, last, count, detail)
  tell_finding('ledger_stray', trigger, first, last, count, detail)
end

function amend.disputed(trigger, first, last, count, detail)
  tell_finding('ledger_disputed', trigger, first, last, count, detail)
end

function amend.skipped_over(trigger, due, next_slot, _, detail)
  local stands = tonumber(redis.call('ZSCORE', key.due(trigger.app), trigger.uid) or 0)
  local is_planned = stands == 0 and redis.call('ZSCORE', key.unplanned, trigger.uid)
  if stands ~= due or is_planned or trigger.active ~= '1' then return end
  event('not_scheduled', 'app', trigger.app, 'trigger', trigger.name or '', 'uid', trigger.uid, 'slot', int(next_slot),
    'due', int(due), 'why', detail)
  hand_to_planner(trigger)
end

-- What was not compared to its end is looked at again at once.
function amend.compared(trigger, watermark, upto, count, due)
  local uid = trigger.uid
  local kept = redis.call('ZCOUNT', key.ledger(uid), '-inf', int(upto)) + (tonumber(trigger.trimmed) or 0)
  local seen = int(trigger.revision) .. ' ' .. int(watermark) .. ' ' .. due .. ' ' .. int(count + (added[uid] or 0))
  if upto < watermark then
    seen = ''
    redis.call('ZADD', key.audits, int(wall), uid)
  end
  redis.call('HSET', key.trigger(uid), 'audited', int(upto), 'kept', int(kept), 'seen', seen)
end

local replies, facts_of = {'ok'}, {}
local FACTS = {'app', 'name', 'handler', 'revision', 'active', 'last_slot', 'changed', 'trimmed', 'audited'}
for i = 1, ITEM_COUNT do
  local uid, revision, audited, kind, first, last, count, detail = item(i)
  local trigger = facts_of[uid]
  if not trigger then
    trigger = {uid = uid}
    local values = redis.call('HMGET', key.trigger(uid), unpack(FACTS))
    for at, name in ipairs(FACTS) do trigger[name] = values[at] or nil end
    facts_of[uid] = trigger
  end
  local word = 'ok'
  if not trigger.app then
    word = 'gone'
  elseif tonumber(trigger.revision) ~= revision or (trigger.audited or '') ~= audited then
    word = 'stale'
  else
    amend[kind](trigger, first, last, count, detail)
  end
  replies[#replies + 1] = word
end
settle_due()
settle_tally()
return replies
