-- End the sessions whose lease ended and forget the gateways that stayed silent for a minute.
--
-- ARGV   now_ms   int  =clock   0 = ask Redis
--        nonce    str  =nonce   random part of the fences begun in this call
--        limit    int           most runs given back in this call
-- REPLY  ok | more ; no_epoch
--        ended        int   how many sessions ended
--        next_lease   int   when the next lease ends, steady ms, 0 = none
--        steady       int
-- MOVES  waiting_to_run created ; running created ; waiting_to_run faulted ; running faulted
--        waiting_to_run canceled ; running canceled ; created waiting_to_run
-- FLAGS  allow-oom
-- COST   O(runs of the ended sessions), at most limit
--!include limits
--!include lib/clock.lua
--!include lib/match.lua
--!include lib/end_session.lua

local room, over, partly = limit, {}, false
-- guard: a session is reaped only when its lease ended
local leases = redis.call('ZRANGE', key.leases, '-inf', int(steady), 'BYSCORE', 'LIMIT', 0,
  limits.CALL_HEADS, 'WITHSCORES')
for i = 1, #leases, 2 do
  if room <= 0 then break end
  local id, lease_end = leases[i], tonumber(leases[i + 1])
  local has_jumped = lease_end > 0 and lease_end - limits.LEASE_MS <= jumped_at
  if lease_end > 0 then -- 0: its end began in an earlier call
    event('session_lost', 'session', id, 'app', read_hash(key.session(id), 'app')[1] or '')
  end
  local ended, whole = end_session(id, 'lease', not has_jumped, room)
  room = room - ended
  if whole then over[#over + 1] = id else partly = true end
end
local silent = redis.call('ZRANGE', key.gateways, '-inf', int(steady - limits.GATEWAY_REAP_MS), 'BYSCORE', 'LIMIT', 0,
  limits.CALL_HEADS)
for _, gateway in ipairs(silent) do
  redis.call('ZREM', key.gateways, gateway)
  redis.call('UNLINK', key.inbox(gateway))
  event('gateway_forgotten', 'gateway', gateway)
end
settle(limits.BATCH_ITEMS)
for _, id in ipairs(over) do
  if not forget_session(id) then partly = true end
end
local next_lease = redis.call('ZRANGE', key.leases, 0, 0, 'WITHSCORES')[2]
return {(unfinished or partly or #leases == 2 * limits.CALL_HEADS) and 'more' or 'ok', #over, tonumber(next_lease or 0), steady}
