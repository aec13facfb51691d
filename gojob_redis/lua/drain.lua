-- Keep sessions from taking anything new, or let them take work again. What they run goes on.
--
-- That is the operator's word and a field of its own: nothing that the worker or a gateway announces changes it, and it
-- ends with the session.
--
-- ARGV   now_ms    int  =clock   0 = ask Redis
--        nonce     str  =nonce   random part of the fences begun in this call
-- ITEM   app       str   namespace/app; must be the session's
--        session   str
--        drained   int   1 = drain, 0 = go on
-- REPLY  ok | more ; no_epoch
-- EACH   word   ok | already | gone
-- REST   match
-- MOVES  created waiting_to_run
-- FLAGS  allow-oom
-- COST   O(items)
--!include limits
--!include lib/clock.lua
--!include lib/match.lua

local replies = {'ok'}
for i = 1, ITEM_COUNT do
  local app, id, drained = item(i)
  local session = session_of(id)
  local word = 'ok'
  -- guard: only the app of a session says what becomes of it
  if not session or OVER[session.off] or read_hash(key.session(id), 'app')[1] ~= app then
    word = 'gone'
  elseif (drained == 1) == session.drained then
    word = 'already'
  else
    if drained == 1 then
      redis.call('HSET', key.session(id), 'drained', int(wall))
    else
      redis.call('HDEL', key.session(id), 'drained')
    end
    session.drained = drained == 1
    session.changed = true
  end
  replies[#replies + 1] = word
end
settle(limits.BATCH_ITEMS)
if unfinished then replies[1] = 'more' end
return replies
