-- Count tasks that are not over by their state, handler and failure, where they stand. One index is walked after the other.
--
-- A sharded task may stand in several of them, so each is told by its name: who asks counts it once.
--
-- ARGV   conditions str  which tasks are counted: lib/filter.lua
--        at        str   where to go on in the first index: a score, empty = at its begin
--        member    str   and the member to go on behind
--        looks     int   most members looked at in this call
-- ITEM   LiveIndex
--        kind      str   session | lane | timers | due
--        name      str   of the session, the lane, the handler or the app
-- REPLY  ok | more ; no_epoch
--        looked   int    how many members were looked at
--        walked   int    how many indexes were walked to their ends
--        at       str    where to go on in the next
--        member   str
--        counts   rows   state, handler (namespace/app/handler) and failure, and how many unsharded tasks have these
--        sharded  rows   of each sharded task: state, handler and failure, and its id
-- FLAGS  no-writes
-- COST   O(looks + items · log N)
--!include lib/reading.lua
--!include lib/counts.lua
--!include lib/living.lua
local sharded = {}

function living.visit(task, is_of_handler)
  local row, shards = counts.find(task, is_of_handler)
  if not row then return false end
  if shards then
    sharded[#sharded + 1] = {row[1], row[2], row[3], task}
  else
    counts.add(row)
  end
  return true
end

local walked, stopped_at, stopped_behind = living.walk_items()
return {walked < ITEM_COUNT and 'more' or 'ok', living.looked, walked, stopped_at, stopped_behind, counts.rows, sharded}
