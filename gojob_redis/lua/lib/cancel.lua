-- A cancel: at once for what nobody owns; asked of the owner, with a grace, for what a worker has.
--!include limits
--!include lib/deadline.lua

local function ask_cancel(fields, reason)
  if not fields.cancel then
    local timer = timer_of(fields) or has_timer(fields) and entry_of(fields)
    put(fields.run, 'cancel', int(steady), 'cancel_reason', reason, 'cancel_at', int(wall))
    if timer then set_timer(fields, timer) end
  end
  local session = session_of(fields.session or '')
  if session then
    tell_cancel(session, fields, reason, limits.CANCEL_GRACE_MS)
    if not fields.cancel_sent then put(fields.run, 'cancel_sent', now) end
  end
  watch(fields)
end

local function leave_index(fields)
  if fields.place == 'lane' then
    -- It may have come back to its lane in this very call, and is not written there yet.
    settle_lanes()
    redis.call('ZREM', key.activeq(fields.lane), fields.run)
    local head = redis.call('ZRANGE', key.activeq(fields.lane), 0, 0, 'WITHSCORES')[2]
    show_head(lane_with(fields.lane), head)
  elseif fields.place == 'due' then -- equivalent if true: nothing is taken out of an index it does not stand in
    local app = string.match(handler_of(fields), '^([^/]+/[^/]+)/')
    redis.call('ZREM', key.due(app), fields.run)
    touch_due(app)
  end
end

local function cancel_run(fields, reason)
  if TERMINAL[fields.state] then return 'already' end
  if is_bound(fields) then
    ask_cancel(fields, reason)
    return 'requested'
  end
  leave_index(fields)
  finish(fields, 'canceled', reason)
  return 'canceled'
end

-- Of a sharded task the unbound rest goes at once; the others are visited at most 100 a call, by the task's own timer.
local function cancel_shards(task, reason)
  if TERMINAL[task.state] then return 'already' end
  local shards, next_shard = tonumber(task.shards), tonumber(task.next) or 0
  if not task.cancel then put(task.run, 'cancel', int(steady), 'cancel_reason', reason, 'cancel_at', int(wall)) end
  if next_shard < shards then
    leave_index(task)
    put(task.run, 'next', int(shards), 'place', 'none', 'swept', '0', 'last_shard', int(next_shard),
      'canceled', int((tonumber(task.canceled) or 0) + shards - next_shard))
    if next_shard == 0 then
      finish(task, reason == 'expired' and 'faulted' or 'canceled', reason)
      return 'canceled'
    end
  end
  local last = tonumber(task.last_shard) or shards
  local from = tonumber(task.swept) or 0
  local to = math.min(from + limits.BATCH_ITEMS, last)
  for shard = from, to - 1 do
    local fields = record(task.run .. '.' .. int(shard))
    if fields and not fields.corrupt then cancel_run(fields, reason) end
  end
  end_with_shards(task)
  if TERMINAL[task.state] then return 'canceled' end
  put(task.run, 'swept', int(to))
  watch(task)
  return 'requested'
end
