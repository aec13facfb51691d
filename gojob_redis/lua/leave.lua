-- End a session that says goodbye. What it had not begun keeps its place; what it was running is lost with it.
--
-- ARGV   now_ms    int  =clock   0 = ask Redis
--        nonce     str  =nonce   random part of the fences begun in this call
--        gateway   str
-- ITEM   session   str
--        conn      int
-- REPLY  ok | more ; no_epoch
-- EACH   word   ok | more | moved | gone
-- REST   match
-- MOVES  waiting_to_run created ; running created ; running faulted ; waiting_to_run faulted
--        waiting_to_run canceled ; running canceled ; created waiting_to_run
-- FLAGS  allow-oom
-- COST   O(runs the sessions hold), at most 100
--!include limits
--!include lib/clock.lua
--!include lib/match.lua
--!include lib/end_session.lua
local room = limits.BATCH_ITEMS
local replies, over = {'ok'}, {}
for i = 1, ITEM_COUNT do
  local id, conn = item(i)
  local session = session_of(id)
  local word = 'ok'
  if not session then
    word = 'gone'
  elseif session.gateway ~= gateway or tonumber(session.conn) ~= conn then
    word = 'moved'
  elseif room <= 0 then
    word = 'more'
  else
    local ended, whole = end_session(id, 'left', false, room)
    room = room - ended
    if whole then over[id] = #replies + 1 else word = 'more' end
  end
  replies[#replies + 1] = word
end
settle(limits.BATCH_ITEMS)
for id, at in pairs(over) do
  if not forget_session(id) then replies[at] = 'more' end
end
if unfinished then replies[1] = 'more' end
return replies
