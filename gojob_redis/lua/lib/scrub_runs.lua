-- Runs: the record says where a run stands; every index has to agree, and what hangs on a run goes with it.
--!include limits
--!include lib/base36.lua

-- A timer that is lost begins anew; that of a retry is over.
function check.lost_timer(fields)
  if fields.state == 'running' then return steady + tonumber(policy(fields).run_limit) end
  return fields.state == 'waiting_to_run' and steady + limits.ACCEPT_MS or steady
end

function check.deadlines(fields, lane)
  local entry = entry_of(fields)
  take_entry(fields, entry)
  if has_timer(fields) and not timer_of(fields) then set_timer(fields, check.lost_timer(fields)) end
  local at = next_timer(fields)
  if not at or (entry and entry <= at) then return end
  watch(fields)
  mend('deadlineq', fields.run, 'nothing watched its next deadline', app_of(lane.handler))
end

function check.back_into_lane(fields, lane, why)
  put(fields.run, 'place', 'lane')
  enqueue(lane, fields.run, score_of(fields))
  tell_went_back(fields) -- guard: what is mended is found by a job that has passed its lane
  mend('activeq', fields.run, why, app_of(lane.handler))
end

function check.queued(fields, lane)
  if not redis.call('ZSCORE', key.activeq(lane.id), fields.run) then
    check.back_into_lane(fields, lane, 'the run did not stand in its lane')
  end
  check.deadlines(fields, lane)
end

function check.delayed(fields, lane)
  local app = app_of(lane.handler)
  if redis.call('ZSCORE', key.due(app), fields.run) then return end
  add_due(app, fields.run, moment_in(score_of(fields)))
  mend('due', fields.run, 'the task did not wait for its time', app)
end

-- A payload that is gone cannot be made up for: a handler must not be called without it.
function check.lost_payload(fields)
  local size = tonumber(fields.param_size) or 0
  return size > limits.INLINE_PARAM_BYTES and not is_there(key.param(fields.run))
end

function check.created(fields, lane)
  if check.lost_payload(fields) then
    mends = mends + 1
    leave_index(fields)
    event('corrupt', 'run', fields.run, 'handler', lane.handler, 'why', 'its payload is gone')
    finish(fields, 'faulted', 'corrupt')
  elseif fields.place == 'lane' then
    check.queued(fields, lane)
  elseif fields.place == 'due' then
    check.delayed(fields, lane)
  elseif fields.place == 'timer' then
    check.deadlines(fields, lane)
  else
    check.back_into_lane(fields, lane, 'the run stood nowhere')
  end
end

function check.bound(fields, lane)
  local session = session_of(fields.session or '')
  if not session then
    mend('task', fields.run, 'its session is gone', app_of(lane.handler))
    lose(fields, 'scrubbed', false)
    return
  end
  -- equivalent if true: what it says is written once more; only the cost differs
  if fields.place ~= 'session' then put(fields.run, 'place', 'session') end
  if redis.call('SISMEMBER', key.held(session.id), seat_of(fields)) == 0 then
    take_seat(session, seat_of(fields))
    mend('held', seat_of(fields), 'the session did not hold the seat', app_of(lane.handler))
  end
  check.deadlines(fields, lane)
end

-- How many shards were bound before the rest was canceled, or so far.
function check.bound_shards_of(task)
  return tonumber(task.last_shard) or tonumber(task.next) or 0
end

-- A shard whose record is gone ends as corrupt, so that its task can end. At most 100 shards a visit.
function check.shards(task, lane)
  local bound_shards = check.bound_shards_of(task)
  local from = tonumber(task.scrubbed) or 0
  local to = math.min(from + limits.BATCH_ITEMS, bound_shards)
  for shard = from, to - 1 do
    checks = checks + 1
    local run = task.run .. '.' .. int(shard)
    if not record(run) then
      mends = mends + 1
      make(run, {lane = lane.id, made = now})
      event('corrupt', 'run', run, 'handler', lane.handler, 'why', 'its record is gone')
      finish(records[run], 'faulted', 'corrupt')
    end
  end
  local on = to < bound_shards and to or 0
  if on ~= from then put(task.run, 'scrubbed', int(on)) end
end

function check.sharded(task, lane)
  local unbound = (tonumber(task.next) or 0) < (tonumber(task.shards) or 0)
  if task.place == 'due' then
    check.delayed(task, lane)
  elseif unbound and not task.cancel then
    if task.place ~= 'lane' then check.back_into_lane(task, lane, 'shards are left and the task stood nowhere') end
    check.queued(task, lane)
  elseif task.place ~= 'none' then
    put(task.run, 'place', 'none')
    mend('task', task.run, 'it has no shard left and stood somewhere', app_of(lane.handler))
  end
  if task.cancel then check.deadlines(task, lane) end
  check.shards(task, lane)
end

function check.over(fields, lane)
  if fields.place ~= 'none' then
    put(fields.run, 'place', 'none')
    mend('task', fields.run, 'it is over and stood somewhere', lane and app_of(lane.handler))
  end
  if task_of(fields.run) ~= fields.run then return end
  local handler = handler_of(fields)
  local kind, name = filed_under(fields, handler)
  local index = key[kind](name)
  if not redis.call('ZSCORE', index, fields.run) then
    local ended = tonumber(fields.ended) or wall
    -- guard: a date that cannot be is not believed
    if ended > wall or ended < (tonumber(fields.made) or 0) then ended = wall end
    redis.call('ZADD', index, int(ended), fields.run)
    mend(kind, fields.run, 'the index did not name it', app_of(handler))
  end
end

function check.forget_run(run, why)
  redis.call('UNLINK', key.result(run), key.attempts(run))
  log.forget(run)
  drop('task', run, key.task(run), why)
end

-- A shard without its task: nobody waits for it; one that a worker has may end first.
function check.orphan(fields, task)
  local parent = record(task)
  if parent and (parent.corrupt or parent.shards) then return false end
  if is_bound(fields) then return false end
  check.forget_run(fields.run, 'the task of the shard is gone')
  return true
end

function check.corrupt(run, fields)
  if fields.later then
    tell_later(fields)
    return
  end
  local lane = fields.lane and lane_with(fields.lane)
  if lane then
    redis.call('ZREM', key.activeq(lane.id), run)
    redis.call('ZREM', key.due(app_of(lane.handler)), run)
    touch_due(app_of(lane.handler))
    check.head(lane)
  end
  set_aside(run, lane)
  mends = mends + 1
end

function check.key(fields, lane)
  local app = fields.key and lane and app_of(lane.handler)
  if not app or redis.call('ZSCORE', key.keyed, keyed_as(fields.key, app, fields.run)) then return end
  add_key(fields.key, app, fields.run)
  mend('keyed', fields.run, 'it was not found by its key', app)
end

function scrub.keyed(_, _, cursor)
  return page('ZSCAN', key.keyed, cursor, function(member)
    local own_key, app, task = string.match(member, '^([^\31]*)\31([^\31]*)\31(.*)$')
    local fields = task and record(task)
    if fields and (fields.corrupt or (fields.key == own_key and app_of(handler_of(fields)) == app)) then return end
    redis.call('ZREM', key.keyed, member)
    mend('keyed', task or member, fields and 'the task has another key' or 'it has no record', app)
  end)
end

-- A parent that is gone took its list along; one of another partition is not seen from here.
function check.child(fields, lane)
  local parent = fields.parent
  if not parent or redis.call('ZSCORE', key.children(parent), fields.run) then return end
  if string.sub(parent, 1, 2) == PARTITION and redis.call('EXISTS', key.task(parent)) == 0 then return end
  add_child(parent, fields.run)
  mend('children', fields.run, 'its parent did not list it', lane and app_of(lane.handler))
end

function scrub.children(parent, _, cursor)
  return page('ZSCAN', key.children(parent), cursor, function(task)
    local fields = record(task)
    if fields and (fields.corrupt or fields.parent == parent) then return end
    forget_child(parent, task)
    mend('children', task, fields and 'the task has another parent' or 'it has no record')
  end)
end

function scrub.task(run)
  local fields = record(run)
  if fields.corrupt then
    check.corrupt(run, fields)
    return
  end
  local task = task_of(run)
  if task ~= run and check.orphan(fields, task) then return end
  local lane = lane_found(fields.lane)
  check.key(fields, lane)
  check.child(fields, lane)
  if TERMINAL[fields.state] then
    check.over(fields, lane)
  elseif fields.shards then
    check.sharded(fields, lane)
  elseif is_bound(fields) then
    check.bound(fields, lane)
  else
    check.created(fields, lane)
  end
end

-- What hangs on a run, and goes with it.
local function hangs_on_run(kind)
  return function(run)
    if not record(run) then drop(kind, run, key[kind](run), 'its task is gone') end
  end
end

scrub.param, scrub.shard_params = hangs_on_run('param'), hangs_on_run('shard_params')
scrub.result, scrub.attempts = hangs_on_run('result'), hangs_on_run('attempts')

function scrub.once(app, digest)
  if redis.call('PTTL', key.once(app, digest)) == -1 then
    redis.call('PEXPIRE', key.once(app, digest), limits.IDEMPOTENCY_MS)
    mend('once', digest, 'it would have stayed for ever', app)
  end
end

-- Whether a run has a deadline, as far as its record and this entry say.
function check.has_deadline(fields, entry)
  take_entry(fields, entry)
  return next_timer(fields) ~= nil
end

function scrub.deadlineq(handler, _, cursor)
  local after = page('ZSCAN', key.deadlineq(handler), cursor, function(run, entry)
    if is_later_member(run) then return end
    local fields = record(run)
    if fields and fields.corrupt then return end
    if fields and handler_of(fields) == handler and check.has_deadline(fields, entry) then return end
    redis.call('ZREM', key.deadlineq(handler), run)
    mend('deadlineq', run, fields and 'there is nothing to look at' or 'it has no record', app_of(handler))
  end)
  local head = redis.call('ZRANGE', key.deadlineq(handler), 0, 0, 'WITHSCORES')[2]
  local alarm = redis.call('ZSCORE', key.alarms, handler)
  if head and (not alarm or tonumber(alarm) > math.max(tonumber(head), steady + limits.LEFT_MS)) then
    redis.call('ZADD', key.alarms, head, handler)
    mend('alarms', handler, 'it did not show the earliest timer', app_of(handler))
  end
  return after
end

-- An index of ended tasks names those whose record says so; one that nobody can read stays.
function check.filed(own_kind, own_name, cursor, forget)
  return page('ZSCAN', key[own_kind](own_name), cursor, function(task)
    local fields = record(task)
    if fields and fields.corrupt then return end
    if fields and TERMINAL[fields.state] then
      local kind, name = filed_under(fields, handler_of(fields))
      if kind == own_kind and name == own_name then return end
    end
    forget(task)
    local app = own_kind == 'failed' and own_name or app_of(own_name)
    mend(own_kind, task, fields and 'it does not belong there' or 'it has no record', app)
  end)
end

function scrub.history(handler, _, cursor)
  return check.filed('history', handler, cursor, function(task) redis.call('ZREM', key.history(handler), task) end)
end

function scrub.failed(app, _, cursor)
  return check.filed('failed', app, cursor, function(task) redis.call('ZREM', key.failed(app), task) end)
end

function scrub.pinned(handler, _, cursor)
  return check.filed('pinned', handler, cursor, function(task) redis.call('ZREM', key.pinned(handler), task) end)
end
