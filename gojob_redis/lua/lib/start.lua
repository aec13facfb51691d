-- A bound run begins: its accept limit is over, and its run limit begins.
--!include lib/words.lua
--!include lib/event.lua
--!include lib/timer.lua
--!include lib/record.lua
--!include lib/lane.lua
--!include lib/deadline.lua

-- The first shard that begins is the start of its task.
local function begin_task(run, started)
  local task = task_of(run)
  local parent = task ~= run and record(task)
  if not parent or parent.later or parent.state ~= 'waiting_to_run' then return end
  put(task, 'state', 'running', 'started', started)
  if parent.expires then watch(parent) end
end

local function begin(fields)
  local run_limit = tonumber(policy(fields).run_limit) or 0
  put(fields.run, 'state', 'running', 'started', now)
  begin_task(fields.run, now)
  if run_limit > 0 then set_timer(fields, steady + run_limit) end
  watch(fields)
end
