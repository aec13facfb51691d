-- A job on tasks: those with the ids it was given, or those of the apps it goes through that its filter lets through.
--!include limits
--!include lib/record.lua
--!include lib/lane.lua
--!include lib/filter.lua
--!include lib/walk.lua
--!include lib/job.lua
-- The place of a job that has gone through all indexes of an app.
local BACK = '\31back'
local chosen = {
  conditions = task_filter.read(conditions, lane_with),
  fields = {'state', 'lane', 'made', 'ended', 'reason', 'trigger', 'worker', 'parent', 'failure', 'cancel'},
}

function chosen.handler_in(app)
  return chosen.conditions.handler and app .. '/' .. chosen.conditions.handler
end

-- What a filter asks for, by name; nothing of what is no task.
function chosen.facts(task)
  if records[task] then return records[task] end -- it was changed in this very call
  local values, facts = redis.pcall('HMGET', key.task(task), unpack(chosen.fields)), {}
  for at, name in ipairs(chosen.fields) do facts[name] = values[at] or nil end
  return facts
end

function chosen.is_in_scope(fields)
  local lane = fields.lane and lane_with(fields.lane)
  return lane and string.sub(lane.handler, 1, #scope) == scope
end

-- Of what lives and was not asked to stop; made when the job was.
function chosen.is_cancelable(facts, moment)
  return not TERMINAL[facts.state] and not facts.cancel and (tonumber(facts.made) or 0) <= moment
end

-- Of what is over, and was when the job was made.
function chosen.is_retriable(facts, moment)
  return TERMINAL[facts.state] and (tonumber(facts.ended) or 0) <= moment
end

-- One of the ids. False when it has to wait, or must be taken up once more.
function chosen.take_up_id(task, act)
  progress.looked = progress.looked + 1
  local fields = record(task)
  if not fields or not chosen.is_in_scope(fields) then -- guard: a job touches nothing outside of where it was allowed
    progress.count('skipped', task, 'gone')
  elseif fields.later then
    progress.count('skipped', task, 'later')
  else
    return act(task, fields)
  end
  return true
end

-- One of the runs of an index: its task, if it is meant.
function chosen.take_up_run(run, may_be, act)
  progress.looked = progress.looked + 1
  local task = task_of(run)
  local facts = chosen.facts(task)
  if not may_be(facts, as_of) or not task_filter.passes_by_name(chosen.conditions, facts) then return true end
  local fields = record(task)
  if not fields or fields.corrupt then return true end
  return act(task, fields)
end

-- The job is told of the tasks of an app that go back, until its walk is at its end. When it was not told until now, the
-- walk begins anew.
function chosen.listen(job, app)
  local stored = read_hash(key.walks(app), job)[1]
  local till = stored and tonumber(string.match(stored, '^%d+'))
  if not till or till <= steady then -- guard: a job that was told nothing for a while looks at all of the app again
    progress.place = ''
    redis.call('UNLINK', key.went_back(job))
  end
  local moment = progress.place == BACK and 0 or as_of
  redis.call('HSET', key.walks(app), job, int(steady + limits.WALK_TOLD_MS) .. ' ' .. int(moment))
  redis.call('PEXPIRE', key.walks(app), limits.WALK_TOLD_MS)
  redis.call('PEXPIRE', key.went_back(job), 2 * limits.WALK_TOLD_MS)
end

-- Looks at what went back during the walk. False when that was not all.
function chosen.take_up_what_went_back(job, app, visit)
  while progress.has_room() do
    local task = redis.call('SPOP', key.went_back(job))
    if not task then
      redis.call('HDEL', key.walks(app), job)
      return true
    end
    if visit(task) == false then
      redis.call('SADD', key.went_back(job), task)
      return false
    end
  end
  return false
end

-- One of the apps: first all its indexes, one after the other, then what went back meanwhile. From then on the job is told
-- of nothing more: what it was for and did not meet is among these.
function chosen.go_through(job, app, may_be, act, is_over)
  local visit = function(run) return chosen.take_up_run(run, may_be, act) end
  if not progress.has_room() then return false end
  chosen.listen(job, app)
  if progress.place ~= BACK then
    local walk = {app = app, only = chosen.handler_in(app), is_over = is_over, has_room = progress.has_room,
      has_room_for_work = progress.has_room_for_work}
    progress.place = walker.app(walk, progress.place, visit)
    if progress.place ~= '' then return false end
    progress.place = BACK
    chosen.listen(job, app)
  end
  return chosen.take_up_what_went_back(job, app, visit)
end

-- from, is_last: which unit is the first, and whether none follows these.
-- act: does the work on one task, and tallies it; false when it cannot take it now, or has not finished it.
-- may_be: whether the verb concerns a task with these facts; is_over: of the apps, what is over; else what lives.
function chosen.run(job, from, is_last, may_be, act, is_over)
  progress.units(from, is_last, function(unit)
    if walks == 0 then return progress.has_room() and chosen.take_up_id(unit, act) end
    return chosen.go_through(job, unit, may_be, act, is_over)
  end)
end
