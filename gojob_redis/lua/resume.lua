-- Give a session a home at this gateway, or compare its seats with what the worker says it holds.
--
-- The worker sends the list of what it holds. What both sides know is kept. What only the engine has bound is sent
-- again, unless the worker had begun it. Then the engine forgot a report that it had acknowledged, as after a crash,
-- and the run is lost. Two kinds of runs are not lost: those that the worker began after it wrote its list, which is at
-- most 30 s old, and those on a list that the engine reads when it goes on after it stood still.
--
-- What is sent again is marked, so that no gateway gives it back as never written: the worker may have it from an
-- earlier connection. A seat that nobody needs is freed. A run that the worker holds and does not own is answered
-- fenced or gone.
--
-- A list comes in pieces of at most 100 runs. The first call tells which seats are not on its piece; those of them that
-- are on no other piece come back as unlisted. Each piece is right on its own, so nobody has to remember how far it
-- got.
--
-- ARGV   now_ms     int  =clock   0 = ask Redis
--        nonce      str  =nonce   random part of the fences begun in this call
--        session    str
--        app        str           must be the session's
--        holder     str           key id of the token, must be the session's
--        gateway    str
--        conn       int           0 = a new connection takes over; else the connection that asks
--        capacity   int           -1 = as before
--        compare    int           1 = the first piece: tell the seats that are not on it
-- ITEM   HeldRun
--        run       str
--        attempt   int
--        fence     str
--        started   int   1 = the worker began it, 0 = not yet, -1 = it does not list it, and has no fence
-- REPLY  ok | more ; lost | moved | foreign | no_epoch
--        conn       int   the connection number
--        unlisted   str   the seats that are not listed, joined by blanks
-- EACH   word   keep | fenced | gone
-- REST   match
-- MOVES  waiting_to_run running ; created waiting_to_run
--        running created ; running faulted ; running canceled
-- FLAGS  allow-oom
-- COST   O(items), and reading the names of the session's seats
--!include limits
--!include lib/clock.lua
--!include lib/match.lua
--!include lib/start.lua
local UNLISTED = -1

local stored = read_hash(key.session(session), 'app', 'holder', 'conn', 'gateway', 'group', 'capacity', 'off')
local moving, listed = conn == 0, {}

-- Why this call changes nothing; nil when it may.
local function refusal()
  if not (stored[1] and stored[4] and stored[5] and are_numbers(stored[3], stored[6])) then return 'lost' end
  if OVER[stored[7]] then return 'lost' end
  -- guard: a session resumes only with its own token and app
  if stored[1] ~= app or stored[2] ~= holder then return 'foreign' end
  if conn > 0 and (tonumber(stored[3]) ~= conn or stored[4] ~= gateway) then return 'moved' end
  return nil
end

-- The session is at this gateway from now on; its former gateway is told.
local function move_here()
  conn = tonumber(stored[3]) + 1
  redis.call('HSET', key.session(session), 'conn', conn, 'gateway', gateway)
  redis.call('ZADD', key.gateways, int(steady), gateway)
  if stored[4] ~= gateway then tell(stored[4], 'moved:' .. session, 'moved', session, stored[3]) end
end

-- Its lease begins anew, and it waits for work again. A session that is kept for one run stays kept.
local function revive(home)
  redis.call('ZADD', key.leases, int(steady + limits.LEASE_MS), session)
  -- equivalent if without 2: what it can take is written once more as it is; only the cost differs
  if capacity >= 0 and capacity ~= home.capacity then
    redis.call('HSET', key.session(session), 'capacity', capacity)
    home.capacity = capacity
  end
  -- equivalent if true: what is not there is taken away
  if home.away then redis.call('HDEL', key.session(session), 'away') end
  local is_kept = home.off == 'solo' or home.off == 'reserved'
  if not is_kept and (moving or home.off == 'unaccepted' or home.off == 'silent') then turn_on(home) end
  home.changed = true
end

-- Its worker had begun it long enough ago to have listed it.
local function is_forgotten(fields)
  return (tonumber(fields.started) or 0) + limits.LIST_AGE_MS < wall
    and jumped_at + limits.LIST_STANDSTILL_MS < steady -- guard: a list that is read after a standstill loses nothing
end

local function send_cancel(home, fields)
  tell_cancel(home, fields, fields.cancel_reason or '', limits.CANCEL_GRACE_MS)
end

-- A seat that only the engine knows of.
local function mind_unlisted(home, fields, seat, is_own)
  if not is_own then
    give_seat(session, seat)
  elseif fields.state == 'waiting_to_run' then
    put(fields.run, 'resent', fields.attempt) -- guard: what is sent again is marked
    dispatch(fields, seat, handler_of(fields), home)
    if fields.cancel then send_cancel(home, fields) end
  elseif is_forgotten(fields) then -- guard: what its worker had begun and knows no more is lost
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

-- One entry of the list, or a seat that is on no piece of it.
local function compare_entry(home, run, attempt, fence, started)
  local fields = record(run)
  local seat = run .. '@' .. int(attempt)
  local is_held = redis.call('SISMEMBER', key.held(session), seat) == 1
  local is_own = fields and not fields.corrupt and is_bound(fields) and is_attempt_of(fields, session, attempt)
  if started == UNLISTED then
    -- equivalent if true: a run that is bound to the session is held by it; another seat is given back twice
    if is_held then mind_unlisted(home, fields, seat, is_own) end
    return 'keep'
  end
  if not is_held and not listed[seat] then take_seat(home, seat) end
  listed[seat] = true
  local word = word_on(fields, fence, started)
  if is_own and fields.cancel and moving then send_cancel(home, fields) end
  return word
end

-- The seats that are not on this piece. One that no session could have taken is given back.
local function unlisted_seats()
  local unlisted = {}
  for _, seat in ipairs(redis.call('SMEMBERS', key.held(session))) do
    if not string.find(seat, '^[^ ]+@%d+$') then
      give_seat(session, seat)
    elseif not listed[seat] then
      unlisted[#unlisted + 1] = seat
    end
  end
  return table.concat(unlisted, ' ')
end

local refused = refusal()
if refused then return {refused} end
if moving then move_here() end
local home = session_of(session)
revive(home)
local replies = {'ok', conn, ''}
for i = 1, ITEM_COUNT do
  local run, attempt, fence, started = item(i)
  replies[#replies + 1] = compare_entry(home, run, attempt, fence, started)
end
if compare == 1 then replies[3] = unlisted_seats() end
settle(limits.BATCH_ITEMS)
if unfinished then replies[1] = 'more' end
return replies
