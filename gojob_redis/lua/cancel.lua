-- Cancel tasks: what waits ends now, what runs is asked to stop and ended after a grace of 10 s.
--
-- ARGV   now_ms   int  =clock   0 = ask Redis
--        nonce    str  =nonce   random part of the fences begun in this call
-- ITEM   task     str
--        reason   str
-- REPLY  ok | more ; no_epoch
-- EACH   word   canceled | requested | already | gone | later
-- REST   match
-- MOVES  created canceled ; waiting_to_run canceled
--        running canceled ; waiting_to_run faulted ; running faulted
-- FLAGS  allow-oom
-- COST   O(items), for sharded tasks O(shards bound), at most 100 a call
--!include limits
--!include lib/clock.lua
--!include lib/match.lua
--!include lib/due.lua
--!include lib/cancel.lua
local replies = {'ok'}
for i = 1, ITEM_COUNT do
  local task, reason = item(i)
  local fields = record(task)
  local word
  if not fields then
    word = 'gone'
  elseif fields.corrupt then
    set_aside(task, nil)
    word = fields.later and 'later' or 'canceled'
  elseif fields.shards then
    word = cancel_shards(fields, reason)
  else
    word = cancel_run(fields, reason)
  end
  replies[#replies + 1] = word
end
settle_due()
settle(limits.BATCH_ITEMS)
if unfinished then replies[1] = 'more' end
return replies
