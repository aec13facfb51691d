-- End a session because somebody says so. What it had not begun keeps its place; what it was running is lost with it,
-- and that counts against no run. Its worker hears of it with its next renewal, and may connect anew.
--
-- ARGV   now_ms    int  =clock   0 = ask Redis
--        nonce     str  =nonce   random part of the fences begun in this call
--        app       str           namespace/app; must be the session's
--        session   str
-- REPLY  ok | more | rest | gone ; no_epoch
-- REST   match
-- MOVES  waiting_to_run created ; running created ; running faulted ; waiting_to_run faulted
--        waiting_to_run canceled ; running canceled ; created waiting_to_run
-- FLAGS  allow-oom
-- COST   O(runs the session holds), at most 100
--!include limits
--!include lib/clock.lua
--!include lib/match.lua
--!include lib/end_session.lua
-- guard: only the app of a session ends it
if not session_of(session) or read_hash(key.session(session), 'app')[1] ~= app then return {'gone'} end
local _, whole = end_session(session, 'left', false, limits.BATCH_ITEMS)
settle(limits.BATCH_ITEMS)
if not whole or not forget_session(session) then return {'rest'} end
return {unfinished and 'more' or 'ok'}
