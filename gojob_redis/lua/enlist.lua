-- Register a session: who it is, what it serves and how much it can take. It waits for work at once.
--
-- ARGV   now_ms      int   0 = ask Redis
--        nonce       str   random part of the fences begun in this call
-- ITEM   session     str   new random id, made by the gateway before its first call
--        app         str   namespace/app
--        crew        str   id of (app, handlers, labels)
--        handlers    str   full handler names, joined by blanks
--        labels      str   canonical
--        attributes  str   joined by commas
--        capacity    int
--        gateway     str
--        conn        int
--        holder      str   key id of the token
--        name        str   what the worker calls itself
--        facts       bin   host, pid, sdk: opaque, for people
-- REPLY  ok | more | no_epoch ; then one word per item: ok | crews_full
-- MOVES  created waiting_to_run
-- COST   O(handlers) for a new crew, else O(1) an item
--!include lib/clock.lua
--!include lib/match.lua
local LEASE_MS = 15000

-- The sum tells the scrubber that the record says what was announced.
local function is_known(crew, app, handlers, labels)
  local facts = read_hash(key.crew(crew), 'app', 'handlers', 'labels', 'sum')
  return facts[1] == app and facts[2] == handlers and facts[3] == labels and facts[4]
end

-- A crew nobody announced before, or whose record says something else by now: its lanes that have work become its
-- ready lanes.
local function begin_crew(crew, app, handlers, labels)
  local names = split(handlers, ' ')
  for _, handler in ipairs(names) do
    local crews = key.crews_of(handler, labels)
    if redis.call('SCARD', crews) >= 16 and redis.call('SISMEMBER', crews, crew) == 0 then return false end
  end
  redis.call('HSET', key.crew(crew), 'app', app, 'handlers', handlers, 'labels', labels,
    'sum', crew_sum(app, handlers, labels))
  redis.call('SADD', key.crews, crew)
  for _, handler in ipairs(names) do
    redis.call('SADD', key.crews_of(handler, labels), crew)
    local known = names_of_lanes(handler)
    for i = 1, #known, 2 do
      local lane = lane_with(known[i + 1])
      if lane and lane.labels == labels then
        local head = redis.call('ZRANGE', key.activeq(lane.id), 0, 0, 'WITHSCORES')[2]
        if head and not lane.blocked then
          redis.call('ZADD', key.ready(crew, lane.attribute), head, lane.id)
          touch(crew, lane.attribute)
        end
      end
    end
  end
  return true
end

-- Says that these handlers are served now; those nobody knew are listed by name, too.
local function announce(app, handlers)
  local announced, named = {}, {}
  for _, handler in ipairs(handlers) do
    announced[#announced + 1] = int(wall)
    announced[#announced + 1] = handler
    named[#named + 1] = 0
    named[#named + 1] = handler
  end
  if in_pieces('ZADD', key.handlers, announced) > 0 then in_pieces('ZADD', key.app_handlers(app), named) end
end

local replies = {'ok'}
for i = 1, ITEM_COUNT do
  local session, app, crew, handlers, labels, attributes, capacity, gateway, conn, holder, name, facts = item(i)
  local word = 'ok'
  if redis.call('EXISTS', key.session(session)) == 1 then
    -- The same call once more, maybe much later: the session may have a new home and another capacity by now.
  elseif not is_known(crew, app, handlers, labels) and not begin_crew(crew, app, handlers, labels) then
    word = 'crews_full'
  else
    redis.call('HSET', key.session(session), 'app', app, 'crew', crew, 'attributes', attributes, 'capacity', capacity,
      'gateway', gateway, 'conn', conn, 'holder', holder, 'name', name, 'facts', facts, 'since', int(wall))
    redis.call('SADD', key.sessions(app), session)
    redis.call('SADD', key.crew_sessions(crew), session)
    redis.call('ZADD', key.leases, int(steady + LEASE_MS), session)
    redis.call('ZADD', key.gateways, int(steady), gateway)
    announce(app, split(handlers, ' '))
    local listed = session_of(session)
    if listed then listed.changed = true end
  end
  replies[#replies + 1] = word
end
settle(100)
if unfinished then replies[1] = 'more' end
return replies
