-- Every way in which a run ends or goes back to its lane. It is written here once, so that no verb forgets an index,
-- the history or the count of shards.
--!include lib/state.lua
--!include lib/filed.lua
--!include lib/tally.lua
--!include lib/went_back.lua
--!include limits
--!include lib/deadline.lua

-- Keeps an abnormal attempt as evidence, at most 16 a run.
local function remember(fields, why, detail)
  local entry = table.concat({fields.attempt or '0', fields.worker or '', int(fence_number(fields.fence)),
    fields.state == 'running' and fields.started or '0', int(wall), why, detail or ''}, '\31')
  redis.call('RPUSH', key.attempts(fields.run), entry)
  redis.call('LTRIM', key.attempts(fields.run), -limits.ABNORMAL_ATTEMPTS, -1)
end

-- A faulted task is counted and told. What happened to its runs before was told at that time.
local function tell_fault(task, reason, handler)
  faults[reason] = (faults[reason] or 0) + 1
  event('faulted', 'task', task, 'reason', reason, 'handler', handler)
end

local shard_finished, end_with_shards

local function finish(fields, state, reason, ...)
  local handler, was = handler_of(fields), fields.state
  put(fields.run, 'state', state, 'place', 'none', 'ended', now, ...)
  if reason ~= '' or fields.reason then put(fields.run, 'reason', reason) end
  watch(fields) -- guard: what the engine gave up keeps its seat until the worker gives it back
  local reserved = fields.reserved and session_of(fields.reserved)
  if reserved and reserved.off == 'reserved' then mind_reservation(reserved) end
  local task, shard = task_of(fields.run)
  if task == fields.run then
    if state == 'faulted' then tell_fault(task, reason, handler) end
    happened(handler, end_of(fields, was, reason))
    file(fields, handler, now)
  else
    if was == 'running' then happened(handler, 's') end
    shard_finished(record(task), shard, state)
  end
end

-- A shard has ended. Its task ends with its last shard: as faulted if a shard faulted, else as canceled if one was
-- canceled. The first shard that faulted is remembered, because its error is shown as the task's.
function shard_finished(task, shard, state)
  if not task or (task.corrupt and not task.later) then return end
  if state == 'faulted' and not task.failed_shard then put(task.run, 'failed_shard', int(shard)) end
  put(task.run, state, (tonumber(task[state]) or 0) + 1)
  end_with_shards(task)
end

function end_with_shards(task)
  if task.later or TERMINAL[task.state] then return end
  local ok = tonumber(task.run_to_completion) or 0
  local faulted, canceled = tonumber(task.faulted) or 0, tonumber(task.canceled) or 0
  if ok + faulted + canceled < tonumber(task.shards) then return end
  if faulted > 0 then
    finish(task, 'faulted', 'shards')
  elseif canceled > 0 then
    finish(task, 'canceled', task.cancel_reason or 'shards')
  else
    finish(task, 'run_to_completion', '')
  end
end

-- Once a call.
local function tell_later(fields)
  if fields.is_told then return end
  fields.is_told = true
  event('unknown_word', 'run', fields.run, 'field', fields.later, 'word', fields[fields.later],
    'handler', fields.lane and handler_of(fields) or '?')
end

-- A record that cannot be read ends its task. The event tells what is known about it. A record of a later release stays.
local function set_aside(run, lane)
  if records[run].later then
    tell_later(records[run])
    return
  end
  local lane_id = records[run].lane
  lane = lane or lane_id and lane_with(lane_id)
  event('corrupt', 'run', run, 'handler', lane and lane.handler or '?')
  replace(run, {lane = lane and lane.id or '0', made = now})
  finish(records[run], 'faulted', 'corrupt')
end

-- The run goes back to its lane at its old score, so that it keeps its place. A former owner is fenced off.
local function back_to_lane(fields)
  local lane = lane_with(fields.lane)
  if fields.state == 'running' then happened(lane.handler, 's') end
  put(fields.run, 'state', 'created', 'place', 'lane', 'fence', int(fence_number(fields.fence) + 1) .. '-')
  watch(fields)
  enqueue(lane, fields.run, score_of(fields))
  tell_went_back(fields) -- guard: what was lost is found by a job that has passed its lane
end

local function whole(text, default)
  return tonumber(text and #text <= 12 and string.match(text, '^%d+$') or default)
end

-- A number below 2^53 that is the same for the same text, on every engine.
local function hash_of(text)
  local high = 1
  for i = 1, #text do high = (high * 48271 + string.byte(text, i)) % 2147483647 end
  high = high * 48271 % 2147483647
  local low = high * 48271 % 2147483647
  return high * 4194304 + low % 4194304
end

-- From this failure to the next attempt, ms: the interval grows by its factor up to its bound, then the jitter makes it
-- longer or shorter. The jitter is a hash of the run and its tries: a call that is repeated decides the same. Ratios are
-- thousandths. A product that no double holds exactly lies far beyond the bound.
local function retry_delay(owner, run, tries)
  local delay = whole(owner.retry_interval, DEFAULT_RETRY_INTERVAL)
  local factor = whole(owner.retry_factor, DEFAULT_RETRY_FACTOR)
  local most = whole(owner.retry_max_interval, DEFAULT_RETRY_MAX_INTERVAL)
  if most == 0 then most = limits.EVERY_MAX_MS end
  if factor > 1000 then -- equivalent if true: times one changes nothing
    for _ = 2, tries do
      if delay >= most then break end -- equivalent if false: what is over the bound stays over it
      delay = math.floor(delay * factor / 1000)
    end
  end
  delay = math.min(delay, most)
  local spread = math.floor(delay * whole(owner.retry_jitter, DEFAULT_RETRY_JITTER) / 1000)
  if spread == 0 then return delay end -- equivalent if false: no spread makes a jitter of nothing
  return delay - spread + hash_of(run .. ' ' .. int(tries)) % (2 * spread + 1)
end

-- What is counted apart from failures, by the disposition of a report: the field that counts it, and how many times a run may.
local APART = {
  snooze = {field = 'snoozes', most = limits.SNOOZES},
  uncounted = {field = 'uncounted', most = limits.UNCOUNTED},
}

-- Counts a failure of a run, and of its task. True when none is left.
local function count_try(fields, owner, tries)
  put(fields.run, 'tries', tries)
  -- equivalent if without 1: an unsharded run has the same number written twice
  if owner ~= fields and not owner.corrupt then put(owner.run, 'tries', (tonumber(owner.tries) or 0) + 1) end
  return tries > (tonumber(owner.retries) or 0)
end

-- Counts what is no failure of a run. True when it was once too often.
local function count_apart(fields, apart)
  local times = (tonumber(fields[apart.field]) or 0) + 1
  put(fields.run, apart.field, times)
  return times > apart.most
end

-- An attempt failed, ran too long, or put its run off. The run is tried again after the delay or its interval, or ends. A
-- sharded task counts the failures of all its shards.
local function fail(fields, reason, disposition, delay, ...)
  local owner, handler, tries = policy(fields), handler_of(fields), tonumber(fields.tries) or 0
  local apart, is_over = APART[disposition], disposition == 'final'
  if reason == 'timeout' then event('run_limit', 'run', fields.run, 'attempt', fields.attempt, 'handler', handler) end
  if apart then
    is_over = count_apart(fields, apart)
    if is_over then reason = apart.field elseif disposition == 'snooze' then reason = 'snoozed' end
  else
    tries = tries + 1
    is_over = count_try(fields, owner, tries) or is_over
  end
  if is_over then
    finish(fields, 'faulted', reason, ...)
    return
  end
  happened(handler, reason == 'snoozed' and 's' or 'r' .. reason)
  put(fields.run, 'state', 'created', 'place', 'timer', 'reason', reason, ...)
  set_timer(fields, steady + (delay or retry_delay(owner, fields.run, math.max(tries, 1))))
  watch(fields)
  tell_went_back(fields) -- guard: what is tried again is found by a job that has passed its timers
end

-- The session that held this run is gone. `counted` is false when that says nothing about the run: its worker left in
-- order, or the clock of the partition had jumped.
local function lose(fields, why, counted)
  local owner = policy(fields)
  remember(fields, why)
  if fields.cancel or owner.cancel then
    finish(fields, 'canceled', fields.cancel_reason or owner.cancel_reason or 'canceled')
    move_fence(fields)
    return
  end
  local lost, handler = (tonumber(fields.lost) or 0) + (counted and 1 or 0), handler_of(fields)
  happened(handler, 'l')
  event('lost', 'run', fields.run, 'attempt', fields.attempt, 'session', fields.session or '', 'why', why,
    'handler', handler)
  if owner.on_lost == 'fault' and fields.state == 'running' then
    finish(fields, 'faulted', 'lost', 'lost', lost)
    move_fence(fields)
  elseif lost >= limits.LOSSES then
    event('poison', 'run', fields.run, 'handler', handler)
    finish(fields, 'faulted', 'poison', 'lost', lost)
    move_fence(fields)
  else
    if counted then put(fields.run, 'lost', lost) end
    back_to_lane(fields)
  end
end

-- Writes how many tasks faulted for which reason.
local function settle_faults()
  for reason, count in pairs(faults) do redis.call('HINCRBY', key.faults, reason, count) end
  faults = {}
end
