-- Hand back runs that were bound and not begun. Their session waits for no more work until it announces itself again.
--
-- ARGV   now_ms     int   0 = ask Redis
--        nonce      str   random part of the fences begun in this call
-- ITEM   session    str
--        run        str
--        attempt    int
--        fence      str
--        reason     str   draining | rejected | unknown_handler | unwritten
-- REPLY  ok | more | no_epoch ; then one word per item: accepted | fenced | gone
-- MOVES  waiting_to_run created ; waiting_to_run faulted ; waiting_to_run canceled ; created waiting_to_run
-- FLAGS  allow-oom
-- COST   O(items)
--!include lib/clock.lua
--!include lib/match.lua
local REJECT_CAP = 20

-- Only what the worker itself refused counts towards the cap.
local function hand_back(fields, reason)
  if fields.cancel then
    finish(fields, 'canceled', fields.cancel_reason or 'canceled')
    return
  end
  if reason == 'rejected' or reason == 'unknown_handler' then
    local rejects = (tonumber(fields.rejects) or 0) + 1
    remember(fields, reason)
    if rejects >= REJECT_CAP then
      event('rejected', 'run', fields.run, 'reason', reason)
      finish(fields, 'faulted', 'rejected', 'rejects', rejects)
      return
    end
    put(fields.run, 'rejects', rejects)
  end
  back_to_lane(fields)
end

local replies = {'ok'}
for i = 1, ITEM_COUNT do
  local session, run, attempt, fence, reason = item(i)
  local fields = record(run)
  local word
  if not fields then
    word = 'gone'
  elseif fields.corrupt or fields.fence ~= fence or fields.state ~= 'waiting_to_run' then
    word = 'fenced'
  else
    hand_back(fields, reason)
    word = 'accepted'
  end
  give_seat(session, run .. '@' .. int(attempt))
  local holder = session_of(session)
  if holder then turn_off(holder, 'released') end
  replies[#replies + 1] = word
end
settle(ITEM_COUNT)
if unfinished then replies[1] = 'more' end
return replies
