-- Find tasks that are not over, where they stand: on the seats of sessions, in lanes, at timers, in due indexes. One index
-- is walked after the other.
--
-- ARGV   conditions str  which tasks are wanted: lib/filter.lua
--        at        str   where to go on in the first index: a score, empty = at its begin
--        member    str   and the member to go on behind
--        looks     int   most members looked at in this call
--        most      int   most tasks found in this call
-- ITEM   Walked
--        kind      str   session | lane | timers | due
--        name      str   of the session, the lane, the handler or the app
-- REPLY  ok | more ; no_epoch
--        looked   int    how many members were looked at
--        walked   int    how many indexes were walked to their ends
--        at       str    where to go on in the next
--        member   str
--        found    strs   ids of tasks, each once
-- FLAGS  no-writes
-- COST   O(looks + items · log N)
--!include lib/reading.lua
--!include lib/filter.lua
--!include lib/living.lua
local filter = task_filter.read(conditions, task_filter.lane)
local tasks = {}
living.most = most

function living.visit(task, is_of_handler)
  local is_wanted = lets_through(filter, task, is_of_handler)
  if is_wanted then tasks[#tasks + 1] = task end
  return is_wanted
end

local walked, stopped_at, stopped_behind = living.walk_items()
return {walked < ITEM_COUNT and 'more' or 'ok', living.looked, walked, stopped_at, stopped_behind, tasks}
