-- A bound run begins: its accept limit is over, and its run limit begins.
--!include lib/words.lua
--!include lib/event.lua
--!include lib/timer.lua
--!include lib/record.lua
--!include lib/lane.lua
--!include lib/deadline.lua
--!include lib/tally.lua

-- Counts an attempt that begins at `started`, and how long its task waited for its first one.
local function tally_start(handler, first, started)
  local wait = first and started - (number_in(first.at or first.made) or wall)
  happened(handler, wait and 'b' .. int(math.max(wait, 0)) or 'b')
end

-- An attempt begins, of which nothing is written yet. The first shard that begins is the start of its task.
local function begin_task(fields, handler, started)
  local task = task_of(fields.run)
  local first = task == fields.run and not fields.started and fields
  local parent = task ~= fields.run and record(task)
  if parent and not parent.later and parent.state == 'waiting_to_run' then
    put(task, 'state', 'running', 'started', int(started))
    first = parent
    if parent.expires then watch(parent) end
  end
  tally_start(handler, first, started)
end

local function begin(fields)
  local run_limit = tonumber(policy(fields).run_limit) or 0
  begin_task(fields, handler_of(fields), wall)
  put(fields.run, 'state', 'running', 'started', now)
  if run_limit > 0 then set_timer(fields, steady + run_limit) end
  watch(fields)
end
