-- A job on tasks: those with the ids it was given, or those of the apps it goes through that its filter lets through.
--!include limits
--!include lib/record.lua
--!include lib/lane.lua
--!include lib/filter.lua
--!include lib/walk.lua
--!include lib/job.lua
local chosen = {
  conditions = task_filter.read(conditions, lane_with),
  fields = {'state', 'lane', 'made', 'ended', 'reason', 'trigger', 'worker', 'parent', 'cancel'},
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

-- from, is_last: which unit is the first, and whether none follows these.
-- act: does the work on one task, and tallies it; false when it cannot take it now, or has not finished it.
-- may_be: whether the verb concerns a task with these facts; is_over: of the apps, what is over; else what lives.
-- again: an app is gone through once more as long as the pass before found something, since tasks move meanwhile.
function chosen.run(from, is_last, may_be, act, is_over, again)
  progress.units(from, is_last, function(unit)
    if walks == 0 then return progress.has_room() and chosen.take_up_id(unit, act) end
    local walk = {app = unit, only = chosen.handler_in(unit), is_over = is_over, has_room = progress.has_room,
      has_room_for_work = progress.has_room_for_work}
    local place = walker.app(walk, progress.place, function(run) return chosen.take_up_run(run, may_be, act) end)
    progress.place = place
    if place ~= '' then return false end
    if not again or progress.found == 0 or progress.pass >= limits.JOB_PASSES then return true end
    progress.pass, progress.found = progress.pass + 1, 0
    return false
  end)
end
