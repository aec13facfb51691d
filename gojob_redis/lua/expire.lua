-- Look at the runs whose timer is due: delays and retries that are ready, dispatches nobody accepted, run limits,
-- queue limits, cancels to send again or to end.
--
-- ARGV   now_ms   int  =clock   0 = ask Redis
--        nonce    str  =nonce   random part of the fences begun in this call
--        limit    int           most runs looked at in this call
-- REPLY  ok | more ; no_epoch
--        looked       int   how many were looked at
--        next_alarm   int   steady ms, 0 = none
--        steady       int
--        wall         int
-- MOVES  waiting_to_run created ; running created ; created waiting_to_run
--        created faulted ; waiting_to_run faulted ; running faulted
--        created canceled ; waiting_to_run canceled ; running canceled
-- FLAGS  allow-oom
-- COST   O(runs due)
--!include limits
--!include lib/clock.lua
--!include lib/match.lua
--!include lib/due.lua
--!include lib/cancel.lua
local looked = 0

local function end_cancel(fields, why)
  remember(fields, why)
  finish(fields, 'canceled', fields.cancel_reason or 'canceled')
  move_fence(fields)
end

-- A run was bound and did not begin within the accept limit. It goes back to its lane, and its session gets nothing
-- more until the session and the engine agree. The session is asked for its list at once: when hints were lost, all
-- sessions are in this state, and the renewals that would show it come seconds later.
--
-- When the socket of the session broke meanwhile, the run waits for the end of the lease: the run may have killed its
-- worker. Given to the next worker at once, it could kill one after the other, and no loss would be counted.
--
-- After 100 times the run faults: a run that no gateway can relay would otherwise take one session after the other out.
local function look_at_unaccepted(fields)
  local holder = session_of(fields.session or '')
  if holder and holder.away then
    local lease_end = tonumber(redis.call('ZSCORE', key.leases, holder.id) or nil) or steady
    set_timer(fields, math.max(lease_end, steady) + limits.SECOND_MS)
    watch(fields)
    return
  end
  happened(handler_of(fields), 'o')
  event('unaccepted', 'run', fields.run, 'attempt', fields.attempt, 'session', fields.session or '',
    'handler', handler_of(fields))
  -- guard: a session that did not accept is asked for its list
  if holder and holder.off ~= 'unaccepted' then tell_sync(holder) end
  if holder then turn_off(holder, 'unaccepted') end -- guard: a session that did not accept is given nothing more
  if fields.cancel then
    end_cancel(fields, 'unaccepted')
    return
  end
  remember(fields, 'unaccepted')
  local times = (tonumber(fields.unaccepted) or 0) + 1
  put(fields.run, 'unaccepted', times)
  if times < limits.UNACCEPTED then -- guard: what no worker ever accepts has an end
    back_to_lane(fields)
  else
    finish(fields, 'faulted', 'unaccepted')
    move_fence(fields)
  end
end

local function look_at_run_limit(fields)
  local session = session_of(fields.session or '')
  if session then tell_cancel(session, fields, 'run_limit', limits.CANCEL_GRACE_MS) end
  if fields.cancel then
    end_cancel(fields, 'timeout')
    return
  end
  remember(fields, 'timeout')
  fail(fields, 'timeout', 'retry', nil)
  move_fence(fields)
end

local function look_at_bound(fields)
  local asked, limit = tonumber(fields.cancel), timer_of(fields)
  if asked and steady >= asked + limits.CANCEL_GRACE_MS then
    end_cancel(fields, 'cancel_grace')
  elseif limit and steady >= limit then
    if fields.state == 'running' then look_at_run_limit(fields) else look_at_unaccepted(fields) end
  elseif asked and not fields.cancel_heard then
    ask_cancel(fields, fields.cancel_reason or 'canceled')
  else
    watch(fields) -- guard: what is not over is watched on
  end
end

-- Its queue limit is over. True when it was.
local function has_expired(fields)
  local expires = queue_limit_of(fields)
  if not expires or steady < expires then return false end -- guard: a queue limit that is not over ends nothing
  event('expired', 'run', fields.run, 'handler', handler_of(fields))
  if fields.shards then
    cancel_shards(fields, 'expired')
  else
    leave_index(fields)
    finish(fields, 'faulted', 'expired')
  end
  return true
end

-- A retry is ready, or a run that has to be alone looks again.
local function look_at_wait(fields)
  local run, lane = fields.run, lane_with(fields.lane)
  local ready = score_of(fields)
  if (tonumber(fields.lost) or 0) < 2 then ready = ready - moment_in(ready) + wall end
  if has_expired(fields) or bind_reserved(fields, lane) then return end
  put(run, 'place', 'lane')
  enqueue(lane, run, ready)
  watch(fields)
  tell_went_back(fields) -- guard: what has waited for its retry is found by a job that has passed its lane
end

-- Looks at all deadlines of a run that are over, whichever of them was its entry.
local function look_at_deadlines(fields)
  if fields.shards and fields.cancel then
    cancel_shards(fields, fields.cancel_reason or 'canceled')
  elseif is_bound(fields) and not fields.shards then
    look_at_bound(fields)
  elseif fields.place == 'timer' then
    look_at_wait(fields)
  elseif fields.place == 'lane' then
    if not has_expired(fields) then watch(fields) end
  elseif fields.place ~= 'due' and not fields.shards then
    event('mended', 'what', 'task', 'id', fields.run, 'why', 'it stood nowhere', 'handler', handler_of(fields))
    back_to_lane(fields)
  end
end

-- True when the run is left alone, and its entry with it.
local function look_at(run, handler, entry)
  if is_later_member(run) then
    event('unknown_word', 'timer', run, 'handler', handler)
    return true
  end
  local fields = record(run)
  if fields and fields.later then
    tell_later(fields)
    return true
  end
  disarm(handler, run) -- what is watched on is armed anew
  if not fields then
    event('orphan', 'run', run, 'handler', handler)
  elseif fields.corrupt then
    set_aside(run, nil)
  elseif not TERMINAL[fields.state] then
    -- guard: an entry under a wrong handler ends nothing that has its own
    if handler_of(fields) ~= handler then entry = entry_of(fields) or entry end
    take_entry(fields, entry)
    look_at_deadlines(fields)
  end
end

local left = 0

-- What is left alone keeps its timer, and hides none that stands behind it. True when there is some.
local function look_at_due(handler)
  local at, before, left_before = 0, nil, left
  repeat
    before = left
    local due = redis.call('ZRANGE', key.deadlineq(handler), '-inf', int(steady), 'BYSCORE', 'LIMIT', at, limit - looked,
      'WITHSCORES')
    for i = 1, #due, 2 do
      if look_at(due[i], handler, due[i + 1]) then left = left + 1 else looked = looked + 1 end
    end
    at = at + #due / 2
  until left == before or looked >= limit or left > limits.LEFT_ITEMS
  return left > left_before
end

-- Timers that are left alone are looked at again a second later.
local function next_alarm_of(handler, has_left)
  local head = redis.call('ZRANGE', key.deadlineq(handler), 0, 0, 'WITHSCORES')[2]
  if not has_left or looked >= limit then return head end
  local after = redis.call('ZRANGE', key.deadlineq(handler), '(' .. int(steady), '+inf', 'BYSCORE', 'LIMIT', 0, 1,
    'WITHSCORES')[2]
  return int(math.min(tonumber(after or steady + limits.LEFT_MS), steady + limits.LEFT_MS))
end

local handlers = redis.call('ZRANGE', key.alarms, '-inf', int(steady), 'BYSCORE', 'LIMIT', 0, limits.CALL_HEADS)
local has_left = {}
for _, handler in ipairs(handlers) do
  has_left[handler] = look_at_due(handler)
  -- equivalent if without 1: without room nothing is read; only the cost differs
  if looked >= limit or left > limits.LEFT_ITEMS then break end
end
settle_due()
settle(limits.BATCH_ITEMS)
for _, handler in ipairs(handlers) do
  local alarm = next_alarm_of(handler, has_left[handler])
  if alarm then redis.call('ZADD', key.alarms, alarm, handler) else redis.call('ZREM', key.alarms, handler) end
end
local next_alarm = redis.call('ZRANGE', key.alarms, 0, 0, 'WITHSCORES')[2]
local more = unfinished or looked >= limit or left > limits.LEFT_ITEMS or #handlers == limits.CALL_HEADS
return {more and 'more' or 'ok', looked, tonumber(next_alarm or 0), steady, wall}
