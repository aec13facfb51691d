-- A session is over: its runs go back or end, at most `room` a call, then its record and its place in every index go.
-- An end that takes several calls goes on, whoever makes them, for the reason it began with.
local ENDINGS = {left = 'left', dark = 'lease', ending = 'lease'}

local function end_session(id, why, counted, room)
  local session = session_of(id)
  redis.call('ZREM', key.leases, id)
  if not session then
    event('corrupt', 'session', id, 'why', 'its record could not be read')
    counted = false
  elseif ENDINGS[session.off] then
    why, counted = ENDINGS[session.off], session.off == 'ending'
  else
    turn_off(session, why == 'left' and 'left' or counted and 'ending' or 'dark')
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
    if session then give_seat(id, seat) else redis.call('SREM', key.held(id), seat) end
  end
  if #seats >= room then
    redis.call('ZADD', key.leases, 0, id)
    return #seats, false
  end
  return #seats, true
end

-- After the settle: nothing names the session any more.
local function forget_session(id)
  local facts = read_hash(key.session(id), 'crew', 'attributes', 'app')
  if not (facts[1] and facts[3]) then
    redis.call('UNLINK', key.session(id), key.held(id))
    return
  end
  redis.call('ZREM', key.waiting(facts[1], ''), id)
  for _, attribute in ipairs(split(facts[2], ',')) do redis.call('ZREM', key.waiting(facts[1], attribute), id) end
  redis.call('SREM', key.sessions(facts[3]), id)
  redis.call('SREM', key.crew_sessions(facts[1]), id)
  redis.call('UNLINK', key.session(id), key.held(id))
  if redis.call('EXISTS', key.crew_sessions(facts[1])) == 0 then
    local crew = read_hash(key.crew(facts[1]), 'handlers', 'labels')
    for _, handler in ipairs(split(crew[1], ' ')) do
      redis.call('SREM', key.crews_of(handler, crew[2] or ''), facts[1])
      local known = names_of_lanes(handler)
      for at = 1, #known, 2 do
        redis.call('UNLINK', key.ready(facts[1], string.match(known[at], ATTRIBUTE .. '(.*)$') or ''))
      end
    end
    redis.call('SREM', key.crews, facts[1])
    redis.call('UNLINK', key.crew(facts[1]))
  end
end
