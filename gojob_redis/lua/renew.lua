-- Keep a gateway and its sessions alive; a session may announce another capacity with it.
--
-- ARGV   now_ms    int  =clock   0 = ask Redis
--        nonce     str  =nonce   random part of the fences begun in this call
--        gateway   str           the one that asks; stamped as heard even without items
-- ITEM   Renewal
--        session    str
--        conn       int
--        age        int   ms since the worker itself was heard
--        held       int   seats the worker counts, -1 = it did not say
--        capacity   int   -1 = as before, -2 = the socket is gone: nothing, until the session comes home
--        load       str  =''   what its process takes, for people; empty = as before
-- REPLY  ok | more ; no_epoch
-- EACH   word   ok | differs | moved | lost
-- REST   match
-- MOVES  created waiting_to_run
-- FLAGS  allow-oom
-- COST   O(items)
--!include limits
--!include lib/clock.lua
--!include lib/match.lua

redis.call('ZADD', key.gateways, int(steady), gateway)
local replies, leases = {'ok'}, {}
for i = 1, ITEM_COUNT do
  local id, conn, age, seats, capacity, load = item(i)
  local session = session_of(id)
  local word = 'ok'
  if not session or OVER[session.off] then
    word = 'lost'
  elseif session.gateway ~= gateway or tonumber(session.conn) ~= conn then
    word = 'moved'
  else
    leases[#leases + 1] = int(steady + limits.LEASE_MS - age)
    leases[#leases + 1] = id
    if load ~= '' then redis.call('HSET', key.session(id), 'load', load) end
    if capacity == -2 then
      redis.call('HSET', key.session(id), 'capacity', 0, 'away', 1)
      session.capacity = 0
      session.changed = true
    elseif capacity >= 0 then
      if capacity ~= session.capacity then redis.call('HSET', key.session(id), 'capacity', capacity) end
      session.capacity = capacity
      session.changed = true
      if session.off ~= 'solo' and session.off ~= 'reserved' then turn_on(session) end
    elseif session.off == 'silent' then
      turn_on(session)
    end
    if session.off == 'reserved' then mind_reservation(session) end
    if seats >= 0 and seats ~= session.used then word = 'differs' end
  end
  replies[#replies + 1] = word
end
if #leases > 0 then in_pieces('ZADD', key.leases, leases) end
settle(limits.BATCH_ITEMS)
if unfinished then replies[1] = 'more' end
return replies
