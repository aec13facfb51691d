-- Find tasks that are over, newest first, in several indexes as if they were one: what handlers did, what failed in apps,
-- or what became of the slots of one trigger.
--
-- All members are ordered by their time and, of one time, by their names, so that a place among them is the same for each
-- index and for every partition: a search goes on behind the place where another ended.
--
-- ARGV   conditions str  which tasks are wanted: lib/filter.lua
--        from_ms   int   none that are older
--        to_ms     int   none that are younger
--        place     str   the member to go on behind, which has the time `to_ms`; empty = with all of that time
--        looks     int   most members looked at in this call
--        most      int   most tasks found in this call
-- ITEM   Searched
--        kind      str   history | pinned | failed | ledger
--        name      str   namespace/app/handler, of `failed` namespace/app, of `ledger` the uid of a trigger
-- REPLY  ok | more ; no_epoch
--        looked   int    how many members were looked at
--        at       int    the time of the last of them, 0 = none
--        member   str    its name
--        found    rows   of each task: its time, its name in the index, its id
-- FLAGS  no-writes
-- COST   O(looks · log items + items · log N)
--!include limits
--!include lib/reading.lua
--!include lib/filter.lua
--!include lib/over.lua
local filter = task_filter.read(conditions, task_filter.lane)
local matches = {}
while over.has_more() and over.looked < looks and #matches < most do
  local task, is_of_handler = over.next()
  if task and lets_through(filter, task, is_of_handler) then matches[#matches + 1] = {int(over.time), over.member, task} end
end
return {over.has_more() and 'more' or 'ok', over.looked, over.time, over.member, matches}
