-- Look at the triggers whose turn it is: put back what stands in no index, tell what is overdue, and answer those that
-- moved since their last audit with the part of their ledger that was not compared with their rule yet.
--
-- A trigger that stands as it stood costs four reads and no words: `seen` says revision, watermark, due slot and number
-- of ledger entries. `kept` counts the entries up to `audited`, so that one taken away behind our back is missed.
--
-- ARGV   now_ms    int  =clock   0 = ask Redis
--        limit     int           most triggers looked at in this call
--        entries   int           most ledger entries answered in this call
--        every     int           ms between two audits of a trigger
--        grace     int           ms a turn has to be over; 0 for the replica that comes first
--        overdue   int           ms after which a due slot that nobody handled is told
-- REPLY  ok | more ; no_epoch
--        wall     int
--        looked   int    how many triggers were looked at
--        moved    rows   each that moved: uid, app, name, revision, active, watermark, changed, due slot (or empty),
--                        entries held and forgotten, `audited` (or empty), where the comparison begins, where it ends,
--                        entries missing below, definition, entries
-- FLAGS  allow-oom
-- COST   O(limit + entries)
--!include limits
--!include lib/clock.lua
--!include lib/agenda.lua
local FACTS = {'app', 'name', 'revision', 'active', 'last_slot', 'changed', 'over', 'planned', 'trimmed', 'audited',
  'kept', 'seen', 'overdue'}
local moved, late = {}, {}
local answered = 0

-- A whole number; nonsense is none.
local function whole(text)
  return text and #text <= 15 and string.find(text, '^%d+$') and tonumber(text) or nil
end

local function trigger_of(uid)
  local values = redis.pcall('HMGET', key.trigger(uid), unpack(FACTS))
  local card = redis.pcall('ZCARD', key.ledger(uid))
  if values.err or type(card) == 'table' then return nil end
  local trigger = {uid = uid, card = card}
  for i, name in ipairs(FACTS) do trigger[name] = values[i] or nil end
  for _, name in ipairs({'last_slot', 'changed', 'planned', 'trimmed', 'kept'}) do
    trigger[name] = whole(trigger[name]) or 0
  end
  return trigger
end

-- One event an app and call: a storm or an outage makes thousands overdue at once.
local function note_overdue(trigger, since, what)
  local mark = what .. int(since)
  if trigger.overdue == mark then return end
  redis.call('HSET', key.trigger(trigger.uid), 'overdue', mark)
  local latest = late[trigger.app] or {count = 0, late_ms = 0}
  late[trigger.app] = latest
  latest.count = latest.count + 1
  if wall - since >= latest.late_ms then
    latest.trigger, latest.uid, latest.since = trigger.name, trigger.uid, since
    latest.late_ms, latest.what = wall - since, what
  end
end

local function tell_overdue()
  for app, latest in pairs(late) do
    event('overdue', 'app', app, 'trigger', latest.trigger, 'uid', latest.uid, 'slot', int(latest.since),
      'late_ms', int(latest.late_ms), 'stands_in', latest.what, 'count', int(latest.count))
  end
end

-- An active trigger stands in the due index, or waits for the planner, or has no slot left.
local function check_place(trigger)
  local due = tonumber(redis.call('ZSCORE', key.due(trigger.app), trigger.uid) or nil)
  if trigger.active ~= '1' then return due end
  if due then
    if due <= wall - overdue then
      note_overdue(trigger, due, 'due')
      touch_due(trigger.app)
    end
    return due
  end
  local waits = tonumber(redis.call('ZSCORE', key.unplanned, trigger.uid) or nil)
  if waits then
    if waits <= wall - overdue then note_overdue(trigger, waits, 'unplanned') end
  elseif trigger.over ~= '1' or trigger.planned > math.max(trigger.last_slot, trigger.changed) then
    event('not_scheduled', 'app', trigger.app, 'trigger', trigger.name, 'uid', trigger.uid, 'why', 'no_due_entry')
    hand_to_planner(trigger)
  end
  return nil
end

-- Where the comparison begins: behind the last one, within the rule that holds, and within what the ledger remembers.
local function begin_of(trigger, from)
  from = math.max(from, trigger.changed)
  if trigger.trimmed > 0 then
    local oldest = redis.call('ZRANGE', key.ledger(trigger.uid), 0, 0, 'WITHSCORES')[2]
    from = math.max(from, tonumber(oldest or 0))
  end
  return from
end

local function answer(trigger, due)
  local audited, missing, from = whole(trigger.audited), 0, 0
  if audited then
    missing = trigger.kept - trigger.trimmed
      - redis.call('ZCOUNT', key.ledger(trigger.uid), '-inf', int(audited))
    if missing == 0 then from = audited end
  end
  from = begin_of(trigger, from)
  local room = entries - answered
  local upto = trigger.last_slot
  local rows = redis.call('ZRANGE', key.ledger(trigger.uid), '(' .. int(from), int(upto), 'BYSCORE', 'LIMIT', 0, room,
    'WITHSCORES')
  if #rows == 2 * room then upto = tonumber(rows[#rows]) end
  local uncompared = {}
  for i = 1, #rows, 2 do uncompared[#uncompared + 1] = rows[i] end
  answered = answered + #uncompared
  moved[#moved + 1] = {trigger.uid, trigger.app, trigger.name or '', int(whole(trigger.revision) or 0), trigger.active or '0',
    int(trigger.last_slot), int(trigger.changed), due and int(due) or '', int(trigger.card + trigger.trimmed),
    audited and int(audited) or '', int(from), int(upto), int(missing),
    redis.call('HGET', key.trigger(trigger.uid), 'definition') or '', uncompared}
end

-- False for a turn without a trigger.
local function look(uid)
  local trigger = trigger_of(uid)
  if not trigger then return true end
  if not trigger.app then
    redis.call('ZREM', key.audits, uid)
    event('mended', 'what', 'audits', 'id', uid, 'why', 'the trigger is gone', 'app', '')
    return false
  end
  if trigger.card > limits.LEDGER_ENTRIES then -- equivalent if true: what is too old goes with the next plan
    trim_ledger(uid)
    trigger = trigger_of(uid)
  end
  local due = check_place(trigger)
  local stands = (trigger.revision or '0') .. ' ' .. int(trigger.last_slot) .. ' ' .. (due and int(due) or '') .. ' '
    .. int(trigger.card + trigger.trimmed)
  if stands ~= trigger.seen then answer(trigger, due) end
  return true
end

-- A turn that lies further ahead than any can was given before the clock was set back.
local uids = redis.call('ZRANGE', key.audits, '-inf', int(wall - grace), 'BYSCORE', 'LIMIT', 0, limit)
local ahead = redis.call('ZRANGE', key.audits, '(' .. int(wall + every), '+inf', 'BYSCORE', 'LIMIT', 0, limit - #uids)
for _, uid in ipairs(ahead) do uids[#uids + 1] = uid end
local looked, turns = 0, {}
for _, uid in ipairs(uids) do
  if answered >= entries then break end
  if look(uid) then
    turns[#turns + 1] = int(wall + every)
    turns[#turns + 1] = uid
  end
  looked = looked + 1
end
in_pieces('ZADD', key.audits, turns)
tell_overdue()
settle_due()
return {(#uids == limit or looked < #uids) and 'more' or 'ok', wall, looked, moved}
