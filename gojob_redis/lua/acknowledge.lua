-- Record that a worker heard a cancel, so that it is not sent again.
--
-- ARGV   now_ms   int  =clock   0 = ask Redis
-- ITEM   Heard
--        session   str   the one whose worker heard it
--        run       str
--        attempt   int
-- REPLY  ok ; no_epoch
-- EACH   word   ok | gone
-- FLAGS  allow-oom
-- COST   O(items)
--!include lib/clock.lua
--!include lib/words.lua
--!include lib/record.lua
local replies = {'ok'}
for i = 1, ITEM_COUNT do
  local session, run, attempt = item(i)
  local fields = record(run)
  local word = 'gone'
  if fields and not fields.corrupt and is_bound(fields) and is_attempt_of(fields, session, attempt) and fields.cancel then
    put(run, 'cancel_heard', now)
    word = 'ok'
  end
  replies[#replies + 1] = word
end
settle_records()
return replies
