-- Sessions and their seats. The truth about taken seats is the set `held:<session>`.
--
-- A seat is the session's until the worker gives it back or the session ends; nothing else frees it. A session with a
-- free seat stands in `waiting:<group>` (and in one more list per attribute it offers), scored by the seats it has
-- taken. `off` keeps a session out of waiting, and says why: released, unaccepted, silent, solo, reserved. A new
-- announcement clears all but the last two. A session is reserved for a run that has to be alone: it takes nothing
-- else, takes that run as soon as it is idle, and is `solo` then. At most one session of a group is reserved; the
-- record of the group says which, and for which run.
--
-- `drained` keeps it out, too: the operator's word, which no announcement clears.
--
-- A session whose end has begun (`OVER`) stays ended. Its end may take several calls, and nothing revives it between
-- them. An `off` of a later release stays until the session ends: this release gives it nothing more.
--!include lib/state.lua
--!include limits
--!include lib/deadline.lua
local OVER = {left = true, uncounted = true, ending = true}
local OFF = {left = true, uncounted = true, ending = true, released = true, unaccepted = true, silent = true,
  solo = true, reserved = true}

local function are_numbers(conn, capacity)
  local digits = (conn or '') .. ' ' .. (capacity or '')
  return #digits <= 20 and string.find(digits, '^%d+ %d+$') ~= nil
end

-- Tells the record of a group from one that was changed by hand: at most 4,096 bytes of it are looked at.
local function group_sum(app, handlers, labels)
  local text = (app or '') .. ' ' .. handlers .. ' ' .. (labels or '')
  local sum = #text
  for at = 1, #text, math.ceil(#text / 4096) do sum = (sum * 31 + string.byte(text, at)) % 4294967296 end
  return int(sum)
end

local function session_of(id, used)
  local session = sessions[id]
  if session ~= nil then return session end
  local facts = read_hash(key.session(id), 'group', 'gateway', 'conn', 'capacity', 'attributes', 'off', 'name',
    'away', 'drained')
  if not (facts[1] and facts[2] and are_numbers(facts[3], facts[4])) then
    sessions[id] = false
    return false
  end
  session = {
    id = id, group = facts[1], gateway = facts[2], conn = facts[3], capacity = tonumber(facts[4]) or 0,
    attributes = split(facts[5], ','), off = facts[6] or nil, name = facts[7] or '', away = facts[8],
    drained = facts[9] and true or false,
    used = used or redis.call('SCARD', key.held(id)), taken = {}, given = {},
  }
  session.listed = not (session.off or session.drained) and session.used < session.capacity
  sessions[id] = session
  return session
end

local function turn_off(session, why)
  if OVER[session.off] or (is_later_word(session.off, OFF) and not OVER[why]) then return end
  session.off = why
  session.changed = true
  redis.call('HSET', key.session(session.id), 'off', why)
end

local function turn_on(session)
  -- equivalent if without 1: what is on is turned on; only the cost differs
  if not session.off or is_later_word(session.off, OFF) then return end
  session.off = nil
  session.changed = true
  redis.call('HDEL', key.session(session.id), 'off')
end

-- Heard within 3 s: nothing is bound to a session whose gateway is silent.
local function gateway_heard(gateway)
  if gateways[gateway] == nil then -- equivalent if true: what is remembered is what stands there
    local stamp = tonumber(redis.call('ZSCORE', key.gateways, gateway) or nil)
    gateways[gateway] = stamp ~= nil and stamp >= steady - limits.GATEWAY_SILENT_MS
  end
  return gateways[gateway]
end

local function has_room(session)
  return not session.off
    and not session.drained -- guard: a drained session takes nothing new
    and session.used < session.capacity -- guard: a session takes no more than its capacity
end

local function take_seat(session, seat)
  session.taken[#session.taken + 1] = seat
  session.used = session.used + 1
  session.changed = true
end

local function give_seat(id, seat)
  local session = session_of(id)
  if not session then return end
  session.given[#session.given + 1] = seat
  session.changed = true
end

-- The run that a reserved session is to take; nil when that run does not wait any more.
local function reserved_for(session)
  local reserved_id, run = string.match(read_hash(key.group(session.group), 'reserved')[1] or '', '^(%S+) (%S+)$')
  local fields = reserved_id == session.id and record(run)
  if fields and not fields.corrupt and fields.place == 'timer' and fields.reserved == reserved_id then return fields end
  return nil
end

-- A reserved session is let go when its run does not need it; when it is idle its run looks at once.
local function mind_reservation(session)
  local fields = reserved_for(session)
  if not fields then
    turn_on(session)
  elseif session.used == 0 then
    set_timer(fields, steady)
    watch(fields)
  end
end

-- Removes the seats that were given back, so that `used` is right before anything is matched.
local function settle_given()
  for id, session in pairs(sessions) do
    if session and #session.given > 0 then
      local removed = 0
      for first = 1, #session.given, 1000 do
        removed = removed + redis.call('SREM', key.held(id),
          unpack(session.given, first, math.min(first + 999, #session.given)))
      end
      session.used = session.used - removed
      session.given = {}
      if session.off == 'solo' and session.used == 0 then turn_on(session) end
      if session.off == 'reserved' then mind_reservation(session) end
    end
    -- equivalent if without 2, without 3: a group without news is matched in vain; only the cost differs
    if session and session.changed and has_room(session) then
      touch(session.group, '')
      for _, attribute in ipairs(session.attributes) do touch(session.group, attribute) end
    end
  end
end

-- A session without room that was not listed before has nothing to be taken out of.
local function show_session(session, attribute, waits)
  if waits then
    redis.call('ZADD', key.waiting(session.group, attribute), session.used, session.id)
  elseif session.listed then
    redis.call('ZREM', key.waiting(session.group, attribute), session.id)
  end
end

-- Writes taken seats and where each changed session waits now.
local function settle_seats()
  for id, session in pairs(sessions) do
    if session and session.changed then -- equivalent if without 2: what is shown is written again
      in_pieces('SADD', key.held(id), session.taken)
      session.taken = {}
      session.changed = false
      local waits = has_room(session)
      show_session(session, '', waits)
      for _, attribute in ipairs(session.attributes) do show_session(session, attribute, waits) end
      session.listed = waits
    end
  end
end
