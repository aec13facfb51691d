-- Turn due slots into tasks, and bind what a waiting session can take.
--
-- A slot is fired when it lies above the trigger's watermark, and only here does the watermark move: so there is at most
-- one task for a slot, and the slot cannot move on without its task or its ledger entry.
--
-- ARGV   now_ms   int  =clock   0 = ask Redis
--        nonce    str  =nonce   random part of the fences begun in this call
--        limit    int           most slots handled in this call
--        cpu_us   int           and no more slots once the engine has worked on them for so long; as much again may follow
-- REPLY  ok | more ; no_epoch
--        fired      int    slots
--        skipped    int    slots
--        next_due   int    wall ms, 0 = none
--        wall       int
--        steady     int
--        lateness   ints   of each fired slot, ms
--        low        strs   the uids whose agenda is low
--        micros     int    the µs that wall leaves out
-- MOVES  none created ; created waiting_to_run
-- COST   O(limit · log N)
--!include limits
--!include lib/clock.lua
--!include lib/match.lua
--!include lib/agenda.lua
--!include lib/card.lua
--!include lib/facts.lua
--!include lib/new_task.lua
--!include lib/base36.lua
local LOOK_EVERY = 5
-- An engine without this clock (Redis 7) is bounded by the number of slots alone.
local has_clock, clock = pcall(function() return os.clock end)
local began = has_clock and clock()
local fired, skipped, work, lateness, low = 0, 0, 0, {}, {}
local lengths = {}

local function trigger_of(uid, app)
  local values = read_hash(key.trigger(uid), 'facts', 'revision', 'last_slot', 'low_at', 'over', 'active', 'live', 'param')
  local revision, last_slot, low_at, over = values[2], values[3] or '0', values[4] or '0', values[5] or '0'
  local trigger = revision and (facts_in(values[1], revision) or facts_anew(uid, revision))
  if trigger and trigger.app == app and #last_slot <= 15 and not string.find(last_slot .. low_at .. over, '%D') then
    trigger.uid, trigger.over, trigger.low_at = uid, over, tonumber(low_at) or 0
    trigger.last_slot = tonumber(last_slot) or 0 -- guard: a watermark that is nothing stops no partition
    trigger.active, trigger.live, trigger.param = values[6], values[7] or nil, values[8] or nil
    return trigger
  end
  -- It fires no more, instead of firing wrongly, until it is defined again.
  local names = read_hash(key.trigger(uid), 'app', 'name')
  if names[1] then
    redis.call('HSET', key.trigger(uid), 'active', 'corrupt')
    set_state(uid, 'corrupt')
    event('corrupt', 'uid', uid, 'app', app, 'trigger', names[2] or '', 'why', 'the trigger cannot be read')
  end
  return nil
end

-- Tasks of this trigger that are not over, of those its overlap policy watches.
local function still_live(trigger)
  local live = {}
  for _, task in ipairs(split(trigger.live, ' ')) do
    local state = redis.pcall('HGET', key.task(task), 'state')
    if type(state) == 'string' and not TERMINAL[state] then live[#live + 1] = task end
  end
  return live
end

local function reason_to_skip(trigger, lane, live)
  if #live > 0 then return 'overlap' end -- guard: a live task skips the slot
  if not lane then return 'lanes_full' end
  lengths[lane.id] = (lengths[lane.id] or redis.call('ZCARD', key.activeq(lane.id))) + 1
  if lengths[lane.id] > limits.QUEUED_PER_HANDLER then return 'queue_full' end
  return nil
end

local function create(trigger, lane, task)
  local param, shard_params = trigger.param or '', ''
  if trigger.param_size > limits.INLINE_PARAM_BYTES then param = redis.call('GET', key.trigger_param(trigger.uid)) or '' end
  -- equivalent if true: an unsharded trigger has none; only the cost differs
  if trigger.shards ~= 1 then shard_params = redis.call('HGET', key.trigger(trigger.uid), 'shard_params') or '' end
  new_task(task, lane, trigger.policies, param, trigger.shards, shard_params, 0, trigger.name)
end

-- A misfired slot: the newest missed one is fired, the older ones share one range entry. Nil when the agenda ends
-- before now does: then the planner, who knows the rule, finds out how many were missed.
local function newest_missed(trigger, slot, next_slot)
  local first, last, count = nil, nil, 0
  while next_slot and next_slot <= wall do
    if slot > trigger.last_slot then first, last, count = first or slot, slot, count + 1 end
    slot = next_slot
    next_slot = tonumber(redis.call('LPOP', key.agenda(trigger.uid)) or nil)
  end
  if not next_slot and trigger.over ~= '1' then return nil end
  if count > 0 then
    miss_slots(trigger.handler, trigger.uid, first, last, count, 'misfire')
  end
  return slot, next_slot
end

local function fire_slot(trigger, slot)
  local live = still_live(trigger)
  local lane = lane_of(trigger.handler, trigger.labels, trigger.attribute)
  local why = reason_to_skip(trigger, lane, live)
  if why then
    skip_slot(trigger.handler, trigger.uid, slot, why)
    redis.call('HSET', key.trigger(trigger.uid), 'last_slot', int(slot))
    skipped = skipped + 1
    return
  end
  local task = PARTITION .. 'f' .. trigger.uid .. base36(slot)
  create(trigger, lane, task)
  note_slot(trigger.uid, slot, 'fired', int(wall - slot))
  if trigger.policies.overlap == 'skip' then
    live[#live + 1] = task
    redis.call('HSET', key.trigger(trigger.uid), 'last_slot', int(slot), 'live', table.concat(live, ' '))
  else
    redis.call('HSET', key.trigger(trigger.uid), 'last_slot', int(slot))
  end
  fired = fired + 1
  work = work + trigger.shards
  lateness[#lateness + 1] = wall - slot
  happened(trigger.handler, 'f' .. int(wall - slot))
end

local gone = {}
local INACTIVE = {corrupt = true}

-- The name of a field whose word is of a later release.
local function later_field_of(trigger)
  return is_later_word(trigger.active, INACTIVE) and 'active' or later_policy(trigger.policies)
end

-- True when the trigger is left alone, and its slot with it.
local function fire_trigger(app, uid, slot)
  local trigger = trigger_of(uid, app)
  local later = trigger and later_field_of(trigger)
  if later then
    event('unknown_word', 'uid', uid, 'app', app, 'trigger', trigger.name, 'field', later,
      'word', trigger.policies[later] or trigger[later])
    return true
  end
  if not trigger or trigger.active ~= '1' then
    gone[#gone + 1] = uid
    event('orphan_due', 'uid', uid, 'app', app)
    return
  end
  local next_slot = tonumber(redis.call('LPOP', key.agenda(uid)) or nil)
  if wall - slot > tonumber(trigger.policies.misfire_after) then
    slot, next_slot = newest_missed(trigger, slot, next_slot)
    if not slot then
      trigger.changed = redis.call('HGET', key.trigger(uid), 'changed')
      hand_to_planner(trigger)
      return
    end
  end
  if slot > trigger.last_slot then fire_slot(trigger, slot) end -- guard: a slot is fired at most once
  if next_slot then
    add_due(app, uid, next_slot)
    if trigger.over ~= '1' and slot >= trigger.low_at then low[#low + 1] = uid end
  else
    gone[#gone + 1] = uid
    if trigger.over == '1' then set_state(uid, 'over') else redis.call('ZADD', key.unplanned, int(wall), uid) end
  end
end

-- A delayed task is due: it enters its lane. True when it is left alone.
local function admit(task)
  local fields = record(task)
  if fields and fields.later then
    tell_later(fields)
    return true
  end
  gone[#gone + 1] = task
  if not fields then
    event('orphan_due', 'task', task)
  elseif fields.corrupt then
    set_aside(task, nil)
  elseif fields.place == 'due' then
    put(task, 'place', 'lane')
    -- equivalent if true: what has no deadline has no timer; only the cost differs
    if fields.expires then watch(fields) end
    enqueue(lane_with(fields.lane), task, score_of(fields))
    work = work + (tonumber(fields.shards) or 1)
  end
end

local function look_at(app, member, at)
  if is_later_member(member) then
    event('unknown_word', 'due', member, 'app', app)
    return true
  end
  if #member > 7 then return admit(member) end
  return fire_trigger(app, member, at)
end

local apps = redis.call('ZRANGE', key.due_heads, '-inf', int(wall), 'BYSCORE', 'LIMIT', 0, limits.CALL_HEADS)
local quota = math.max(1, math.floor(limit / math.max(1, #apps)))
local handled, left, enough = 0, 0, false

-- What is left alone keeps its time, and hides nothing that stands behind it. True when there is some.
local function look_at_due(app, room)
  local at, before, left_before = 0, nil, left
  repeat
    before = left
    local rows = redis.call('ZRANGE', key.due(app), '-inf', int(wall), 'BYSCORE', 'LIMIT', at, room, 'WITHSCORES')
    for i = 1, #rows, 2 do
      if look_at(app, rows[i], tonumber(rows[i + 1])) then
        left = left + 1
      else
        handled, room = handled + 1, room - 1
      end
      -- guard: a call that has worked long enough leaves the rest to the next
      enough = has_clock and handled % LOOK_EVERY == 0 and (clock() - began) * 1e6 >= cpu_us
      if enough then break end
    end
    at = at + #rows / 2
  until left == before or enough or room == 0 or left > limits.LEFT_ITEMS
  return left > left_before and not enough and room > 0
end

for _, app in ipairs(apps) do
  gone = {}
  local has_left = look_at_due(app, math.min(quota, limit - handled))
  in_pieces('ZREM', key.due(app), gone)
  touch_due(app, has_left)
  -- equivalent if without 2: without room nothing is read
  if enough or handled >= limit or left > limits.LEFT_ITEMS then break end
end
settle_due()
settle(math.max(1, math.min(limits.BATCH_ITEMS, work)))
local next_due = tonumber(redis.call('ZRANGE', key.due_heads, 0, 0, 'WITHSCORES')[2] or 0)
local more = unfinished or (next_due > 0 and next_due <= wall)
return {more and 'more' or 'ok', fired, skipped, next_due, wall, steady, lateness, low, micros}
