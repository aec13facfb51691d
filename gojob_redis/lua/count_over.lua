-- Count tasks that are over by their state, handler and failure, newest first, in several indexes as if they were one.
--
-- ARGV   conditions str  which tasks are counted: lib/filter.lua
--        from_ms   int   none that are older
--        to_ms     int   none that are younger
--        place     str   the member to go on behind, which has the time `to_ms`; empty = with all of that time
--        looks     int   most members looked at in this call
-- ITEM   OverIndex
--        kind      str   history | pinned | failed | ledger
--        name      str   namespace/app/handler, of `failed` namespace/app, of `ledger` the uid of a trigger
-- REPLY  ok | more ; no_epoch
--        looked   int    how many members were looked at
--        at       int    the time of the last of them, 0 = none
--        member   str    its name
--        counts   rows   state, handler (namespace/app/handler) and failure, and how many tasks have these
-- FLAGS  no-writes
-- COST   O(looks · log items + items · log N)
--!include lib/reading.lua
--!include lib/counts.lua
--!include lib/over.lua
while over.has_more() and over.looked < looks do
  local task, is_of_handler = over.next()
  local row = task and counts.find(task, is_of_handler)
  if row then counts.add(row) end
end
return {over.has_more() and 'more' or 'ok', over.looked, over.time, over.member, counts.rows}
