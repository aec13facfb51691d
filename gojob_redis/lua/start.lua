-- Record that attempts began.
--
-- ARGV   now_ms   int  =clock   0 = ask Redis
-- ITEM   Start
--        session   str   the one whose worker began
--        run       str
--        attempt   int
--        fence     str
-- REPLY  ok ; no_epoch
-- EACH   word   ok | late | fenced | gone | canceled
-- MOVES  waiting_to_run running
-- FLAGS  allow-oom
-- COST   O(items)
--!include lib/clock.lua
--!include lib/start.lua

local replies = {'ok'}
for i = 1, ITEM_COUNT do
  local session, run, attempt, fence = item(i)
  local fields = record(run)
  local word
  if not fields then
    word = 'gone'
  elseif fields.corrupt or not is_owned(fields, session, fence) then -- guard: a start is its owner's
    word = 'fenced'
  elseif fields.state == 'running' then
    word = 'ok'
  elseif fields.state ~= 'waiting_to_run' then
    word = 'late'
  else
    begin(fields)
    word = fields.cancel and 'canceled' or 'ok'
  end
  replies[#replies + 1] = word
end
settle_records()
settle_timers()
settle_tally()
return replies
