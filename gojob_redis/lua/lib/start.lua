-- A bound run begins: the accept timer becomes the run limit's, or goes.
--!include lib/words.lua
--!include lib/event.lua
--!include lib/timer.lua
--!include lib/record.lua
--!include lib/lane.lua

-- The first shard that begins is the start of its task.
local function begin_task(run, started)
  local task = task_of(run)
  local parent = task ~= run and record(task)
  if parent and not parent.later and parent.state == 'waiting_to_run' then put(task, 'state', 'running', 'started', started) end
end

local function begin(fields)
  local handler = lane_with(fields.lane).handler
  local run_limit = tonumber(policy(fields).run_limit) or 0
  put(fields.run, 'state', 'running', 'started', now)
  begin_task(fields.run, now)
  if fields.cancel then
    return
  elseif run_limit > 0 then
    arm(handler, fields.run, steady + run_limit)
  else
    disarm(handler, fields.run)
  end
end
