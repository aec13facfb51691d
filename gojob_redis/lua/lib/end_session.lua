-- The end of a session. Its runs go back or end, at most `room` a call; then its record goes, and its place in every
-- index. An end may take several calls, by different callers: the reason it began with holds for all of them.
--!include limits
local ENDINGS = {left = 'left', uncounted = 'lease', ending = 'lease'}

local function end_session(id, why, counted, room)
  local session = session_of(id)
  redis.call('ZREM', key.leases, id)
  if not session then
    event('corrupt', 'session', id, 'why', 'its record could not be read')
    counted = false
  elseif ENDINGS[session.off] then
    why, counted = ENDINGS[session.off], session.off == 'ending'
  else
    turn_off(session, why == 'left' and 'left' or counted and 'ending' or 'uncounted')
  end
  local seats = redis.call('SRANDMEMBER', key.held(id), room)
  for _, seat in ipairs(seats) do
    local run = string.match(seat, '^(.*)@%d+$')
    local fields = run and record(run)
    if fields and fields.corrupt then
      set_aside(run, nil)
    elseif fields and is_bound(fields) and fields.session == id then
      lose(fields, why, counted)
    end
    -- equivalent if false: a session that ends is given nothing more; only the cost differs
    if session then give_seat(id, seat) else redis.call('SREM', key.held(id), seat) end
  end
  if #seats >= room then
    redis.call('ZADD', key.leases, 0, id)
    return #seats, false
  end
  return #seats, true
end

local closed = 0

local function close_handler(handler, group, labels, lane_names)
  redis.call('SREM', key.groups_of(handler, labels), group)
  for at = 1, #lane_names, 2 do
    local attribute = attribute_of(lane_names[at], labels)
    if attribute then redis.call('ZREM', key.ready(group, attribute), lane_names[at + 1]) end
  end
end

-- Takes away what is shown to a group without sessions, from its last handler to its first, as far as this call may
-- look. True when the group is gone, or when an announcement is opening it anew.
local function close_group(group)
  local facts = read_hash(key.group(group), 'handlers', 'labels', 'opened', 'opening')
  -- equivalent if without 1: what never began is long over
  if facts[4] and (tonumber(facts[4]) or 0) + limits.GROUP_OPENING_MS > wall then return true end
  local names, labels = split(facts[1], ' '), facts[2] or ''
  local opened = math.min(#names, tonumber(facts[3] or nil) or #names)
  while opened > 0 do
    local lane_names = names_of_lanes(names[opened])
    -- equivalent if without 1: no handler has so many lanes
    if closed > 0 and closed + #lane_names / 2 >= limits.CLOSE_LANES then
      redis.call('HSET', key.group(group), 'opened', opened)
      return false
    end
    closed = closed + #lane_names / 2 + 1
    close_handler(names[opened], group, labels, lane_names)
    opened = opened - 1
  end
  redis.call('SREM', key.groups, group)
  redis.call('UNLINK', key.group(group))
  return true
end

-- Who a worker was is told as long as there are tasks that it ran: they name its session.
local function keep_card(app, id, facts)
  if not facts or facts == '' then return end
  local cards = key.cards(app, int(math.floor(wall / limits.DAY_MS)))
  read_hash(cards, id) -- what is no hash goes
  if redis.call('HLEN', cards) >= limits.CARDS_A_DAY then return end
  redis.call('HSET', cards, id, facts)
  redis.call('PEXPIRE', cards, limits.CARDS_MS)
end

-- After the settle: takes the session out of every index, and its group with it if it was the last one. False when to
-- close the group takes another call; until then the session stays, as one whose end has begun.
local function forget_session(id)
  local facts = read_hash(key.session(id), 'group', 'attributes', 'app', 'facts')
  if not (facts[1] and facts[3]) then
    redis.call('UNLINK', key.session(id), key.held(id))
    return true
  end
  redis.call('ZREM', key.waiting(facts[1], ''), id)
  for _, attribute in ipairs(split(facts[2], ',')) do redis.call('ZREM', key.waiting(facts[1], attribute), id) end
  local group = key.group_sessions(facts[1])
  local others = redis.call('SCARD', group) - redis.call('SISMEMBER', group, id)
  if others == 0 and not close_group(facts[1]) then
    redis.call('ZADD', key.leases, 0, id)
    return false
  end
  keep_card(facts[3], id, facts[4])
  redis.call('SREM', key.sessions(facts[3]), id)
  redis.call('SREM', group, id)
  redis.call('UNLINK', key.session(id), key.held(id))
  return true
end
