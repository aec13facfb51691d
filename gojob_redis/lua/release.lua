-- Hand back runs that were bound and not begun. Their session waits for no more work until it announces itself again.
--
-- ARGV   now_ms   int  =clock   0 = ask Redis
--        nonce    str  =nonce   random part of the fences begun in this call
-- ITEM   Release
--        session   str
--        run       str
--        attempt   int
--        fence     str
--        reason    str       draining | rejected | unknown_handler | unwritten
--        conn      int  =0   connection that never wrote it to its socket: nothing is taken back once the session
--                            has another, which was sent everything anew, nor what was sent again: the worker may
--                            have the first copy. 0 = the worker itself hands it back
-- REPLY  ok | more ; no_epoch
-- EACH   word   accepted | fenced | gone
-- REST   match
-- MOVES  waiting_to_run created ; waiting_to_run faulted ; waiting_to_run canceled ; created waiting_to_run
--        running faulted ; running canceled
-- FLAGS  allow-oom
-- COST   O(items)
--!include limits
--!include lib/clock.lua
--!include lib/match.lua

-- Only what the worker itself refused counts towards the cap.
local function hand_back(fields, reason)
  if fields.cancel then
    finish(fields, 'canceled', fields.cancel_reason or 'canceled')
    return
  end
  if reason == 'rejected' or reason == 'unknown_handler' then
    local rejects = (tonumber(fields.rejects) or 0) + 1
    happened(handler_of(fields), 'j')
    remember(fields, reason)
    if rejects >= limits.REJECTS then
      event('rejected', 'run', fields.run, 'reason', reason, 'handler', handler_of(fields))
      finish(fields, 'faulted', 'rejected', 'rejects', rejects)
      return
    end
    put(fields.run, 'rejects', rejects)
  end
  back_to_lane(fields)
end

local replies = {'ok'}
for i = 1, ITEM_COUNT do
  local session, run, attempt, fence, reason, conn = item(i)
  local fields = record(run)
  local holder = session_of(session)
  local moved = conn > 0 and holder and tonumber(holder.conn) ~= conn
  local resent = conn > 0 and fields and fields.resent == int(attempt)
  local word, begun
  if moved
    or resent then -- guard: what was sent again is not taken back as never written
    word = 'fenced'
  elseif not fields then
    word = 'gone'
  elseif fields.corrupt or not is_owned(fields, session, fence) then
    word = 'fenced'
  elseif fields.state ~= 'waiting_to_run' then -- guard: a run that began is not taken back
    word = 'fenced'
    begun = fields.state == 'running'
  else
    hand_back(fields, reason)
    word = 'accepted'
  end
  -- What the session is running keeps its seat, whatever the worker says about a dispatch of it.
  if not moved and not resent and not begun then
    give_seat(session, run .. '@' .. int(attempt))
    if holder then turn_off(holder, 'released') end
  end
  replies[#replies + 1] = word
end
settle(ITEM_COUNT)
if unfinished then replies[1] = 'more' end
return replies
