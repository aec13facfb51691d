-- Which tasks a job would be for, some a call: its dry run. Changes nothing.
--
-- ARGV   now_ms     int  =clock   0 = ask Redis
--        scope      str           what the address of a handler has to begin with: `namespace/` or `namespace/app/`
--        walks      int           1 = the units are apps, whose tasks the filter chooses; 0 = they are ids of tasks
--        conditions str           lib/filter.lua
--        as_of      int           wall ms; what came later does not count
--        is_over    int           1 = of what is over; 0 = of what lives and was not asked to stop
--        place      str           where the call before stopped in the app
--        cpu_us     int           no more tasks once the engine has looked at them for so long
-- ITEM   unit       str
-- REPLY  ok ; no_epoch
--        place      str           where the next call goes on; empty = that was all
--        tasks      strs          the ids; one may come again in a later call
-- FLAGS  allow-oom
-- COST   O(tasks looked at), at most 500
--!include limits
--!include lib/clock.lua
--!include lib/job_tasks.lua
local tasks, seen = {}, {}

local function count_one(task)
  if not seen[task] then tasks[#tasks + 1] = task end
  seen[task] = true
  return true
end

local function may_be(facts)
  if is_over == 1 then return chosen.is_retriable(facts, as_of) end
  return chosen.is_cancelable(facts, as_of)
end

for i = 1, ITEM_COUNT do
  local unit = item(i)
  if walks == 1 then
    local walk = {app = unit, only = chosen.handler_in(unit), is_over = is_over == 1, has_room = progress.has_room,
      has_room_for_work = progress.has_room_for_work}
    place = walker.app(walk, place, function(run) return chosen.take_up_run(run, may_be, count_one) end)
  else
    local facts = chosen.facts(unit)
    if chosen.is_in_scope(facts) and may_be(facts) then count_one(unit) end
  end
end
return {'ok', place, tasks}
