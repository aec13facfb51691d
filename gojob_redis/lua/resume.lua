-- Give a session a home at this gateway, or compare its seats with what the worker says it holds.
--
-- What both sides know is kept; what only the engine has bound is sent again, unless the worker had begun it: then the
-- engine has forgotten the report that it acknowledged, as after a crash, and the run is lost; not so what it began
-- after it wrote its list. That is as old as a list gets, but for one that an engine that stood still reads when it goes
-- on: nothing is lost by a list of those moments. What is sent again is marked: its worker may have it by an earlier
-- connection, or by one this call came too late for, so no gateway may give it back as never written. A seat nobody
-- needs is freed; a run the worker holds and does not own any more is answered fenced or gone.
--
-- A list comes in pieces of at most 100. The first call tells which seats are not on its piece; what is on no piece then
-- comes back as unlisted. Each piece is right on its own, so nobody has to remember how far a list has come.
--
-- ARGV   now_ms    int   0 = ask Redis
--        nonce     str   random part of the fences begun in this call
--        session   str
--        app       str   must be the session's
--        holder    str   key id of the token, must be the session's
--        gateway   str
--        conn      int   0 = a new connection takes over; else the connection that asks
--        capacity  int   -1 = as before
--        compare   int   1 = the first piece: tell the seats that are not on it
-- ITEM   run       str
--        attempt   int
--        fence     str
--        started   int   1 = the worker began it, 0 = not yet, -1 = it does not list it, and has no fence
-- REPLY  ok | more | lost | moved | foreign | no_epoch ; then the connection number, the seats that are not listed, joined
--        by blanks, and one word per item: keep | fenced | gone
-- MOVES  waiting_to_run running ; created waiting_to_run
--        running created ; running faulted ; running canceled
-- FLAGS  allow-oom
-- COST   O(items), and reading the names of the session's seats
--!include lib/clock.lua
--!include lib/match.lua
--!include lib/start.lua
local LEASE_MS = 15000
local LIST_MS, STALE_MS = 30000, 5000
local UNLISTED = -1

local facts = read_hash(key.session(session), 'app', 'holder', 'conn', 'gateway', 'group', 'capacity', 'off')
if not (facts[1] and facts[4] and facts[5] and are_numbers(facts[3], facts[6])) then return {'lost'} end
if OVER[facts[7]] then return {'lost'} end
if facts[1] ~= app or facts[2] ~= holder then return {'foreign'} end
if conn > 0 and (tonumber(facts[3]) ~= conn or facts[4] ~= gateway) then return {'moved'} end
local moving = conn == 0
if moving then
  conn = tonumber(facts[3]) + 1
  redis.call('HSET', key.session(session), 'conn', conn, 'gateway', gateway)
  redis.call('ZADD', key.gateways, int(steady), gateway)
  if facts[4] ~= gateway then
    tell(facts[4], 'moved:' .. session, 'moved', session, facts[3])
  end
end
redis.call('ZADD', key.leases, int(steady + LEASE_MS), session)
local home = session_of(session)
if capacity >= 0 and capacity ~= home.capacity then
  redis.call('HSET', key.session(session), 'capacity', capacity)
  home.capacity = capacity
end
if home.away then redis.call('HDEL', key.session(session), 'away') end
if home.off ~= 'solo' and home.off ~= 'reserved' and (moving or home.off == 'unaccepted' or home.off == 'silent') then turn_on(home) end

local replies, listed = {'ok', conn, ''}, {}

-- A seat that only the engine knows of.
local function mind_unlisted(fields, seat, is_own)
  if not is_own then
    give_seat(session, seat)
  elseif fields.state == 'waiting_to_run' then
    put(fields.run, 'resent', fields.attempt)
    dispatch(fields, seat, handler_of(fields), home)
    if fields.cancel then tell_cancel(home, fields, fields.cancel_reason or '', 10000) end
  elseif (tonumber(fields.started) or 0) + LIST_MS < wall and jumped_at + STALE_MS < steady then
    lose(fields, 'forgotten', false)
    give_seat(session, seat)
  end
end

local function word_on(fields, fence, started)
  if not fields then return 'gone' end
  if fields.later and is_owned(fields, session, fence) then return 'keep' end
  if fields.corrupt or not is_owned(fields, session, fence) or not is_bound(fields) then return 'fenced' end
  if started == 1 and fields.state == 'waiting_to_run' then begin(fields) end
  return 'keep'
end

for i = 1, ITEM_COUNT do
  local run, attempt, fence, started = item(i)
  local fields = record(run)
  local seat = run .. '@' .. int(attempt)
  local is_held = redis.call('SISMEMBER', key.held(session), seat) == 1
  local is_own = fields and not fields.corrupt and is_bound(fields) and is_attempt_of(fields, session, attempt)
  if started == UNLISTED then
    if is_held then mind_unlisted(fields, seat, is_own) end
    replies[#replies + 1] = 'keep'
  else
    if not is_held and not listed[seat] then take_seat(home, seat) end
    listed[seat] = true
    replies[#replies + 1] = word_on(fields, fence, started)
    if is_own and fields.cancel and moving then tell_cancel(home, fields, fields.cancel_reason or '', 10000) end
  end
end
if compare == 1 then
  local unlisted = {}
  for _, seat in ipairs(redis.call('SMEMBERS', key.held(session))) do
    if not string.find(seat, '^[^ ]+@%d+$') then
      give_seat(session, seat)
    elseif not listed[seat] then
      unlisted[#unlisted + 1] = seat
    end
  end
  replies[3] = table.concat(unlisted, ' ')
end
home.changed = true
settle(100)
if unfinished then replies[1] = 'more' end
return replies
