-- Register a session: who it is, what it serves and how much it can take. It waits for work at once.
--
-- ARGV   now_ms   int  =clock   0 = ask Redis
--        nonce    str  =nonce   random part of the fences begun in this call
--        quotas   str  =''      how much namespaces may have: lib/quotas.lua
-- ITEM   Enlistment
--        session      str   new random id, made by the gateway before its first call
--        app          str   namespace/app
--        group        str   id of (app, handlers, labels)
--        handlers     str   full handler names, joined by blanks
--        labels       str   canonical
--        attributes   str   joined by commas
--        capacity     int
--        gateway      str
--        conn         int
--        holder       str   key id of the token
--        name         str   what the worker calls itself
--        facts        bin   host, pid, sdk: opaque, for people
-- REPLY  ok | more ; no_epoch
-- EACH   word   ok | more | worker_groups_full | handlers_full
-- REST   match
-- MOVES  created waiting_to_run
-- COST   O(handlers), and 100 lanes or one handler's for new groups
--!include limits
--!include lib/clock.lua
--!include lib/match.lua
--!include lib/quotas.lua
local looked = 0 -- a handler counts as a quarter of a lane

local function is_full(handler, labels, group)
  local groups = key.groups_of(handler, labels)
  return redis.call('SCARD', groups) >= limits.GROUPS_PER_LANE and redis.call('SISMEMBER', groups, group) == 0
end

-- How many of its handlers are open to a group; nil for one that is not known, or whose record says something else by
-- now. The sum tells the scrubber that the record says what was announced.
local function opened_to(group, app, handlers, labels, names)
  local facts = read_hash(key.group(group), 'app', 'handlers', 'labels', 'sum', 'opened')
  if facts[1] ~= app or facts[2] ~= handlers or facts[3] ~= labels or not facts[4] then return nil end
  return facts[5] and (tonumber(facts[5]) or 0) or #names
end

-- What work there is for a handler is shown to the group. Only the names of its lanes are read, which is a third of
-- what their records would cost.
local function open_handler(handler, group, labels, has_sessions)
  redis.call('SADD', key.groups_of(handler, labels), group)
  if read_hash(key.handler(handler), 'paused')[1] then return end
  local lane_names = names_of_lanes(handler)
  for i = 1, #lane_names, 2 do
    local attribute = attribute_of(lane_names[i], labels)
    local head = attribute and redis.call('ZRANGE', key.activeq(lane_names[i + 1]), 0, 0, 'WITHSCORES')[2]
    if head then
      redis.call('ZADD', key.ready(group, attribute), head, lane_names[i + 1])
      -- equivalent if true: a group without news is matched in vain; only the cost differs
      if has_sessions then touch(group, attribute) end
    end
  end
end

-- Opens the handlers to a group, one after the other, as far as this call may look at lanes: `ok` when all are open,
-- `more` when the same announcement has to come again. A group whose announcement does not come again goes with the
-- scrubber; so does what a group showed already that finds one of its handlers taken meanwhile.
local function open_group(group, app, handlers, labels, names)
  local opened = opened_to(group, app, handlers, labels, names)
  if opened == #names then return 'ok' end -- equivalent if false: nothing is left to be opened; only the cost differs
  if not opened then
    for _, handler in ipairs(names) do
      if is_full(handler, labels, group) then return 'worker_groups_full' end
    end
    if not has_room_for(app, names) then return 'handlers_full' end
    opened = 0
    redis.call('HSET', key.group(group), 'app', app, 'handlers', handlers, 'labels', labels,
      'sum', group_sum(app, handlers, labels))
    looked = looked + #names / 4
  end
  local has_sessions = redis.call('EXISTS', key.group_sessions(group)) == 1
  while opened < #names do
    local handler = names[opened + 1]
    local count = redis.call('HLEN', key.lanes(handler)) + 1 / 4
    if looked > 0 and looked + count > limits.OPEN_LANES then
      redis.call('HSET', key.group(group), 'opened', opened, 'opening', int(wall))
      return 'more'
    end
    if is_full(handler, labels, group) then
      for at = 1, opened do redis.call('SREM', key.groups_of(names[at], labels), group) end
      redis.call('UNLINK', key.group(group))
      return 'worker_groups_full'
    end
    looked = looked + count
    open_handler(handler, group, labels, has_sessions)
    opened = opened + 1
  end
  redis.call('HDEL', key.group(group), 'opened', 'opening')
  redis.call('SADD', key.groups, group)
  return 'ok'
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

local function register(session, app, group, names, attributes, capacity, gateway, conn, holder, name, facts)
  redis.call('HSET', key.session(session), 'app', app, 'group', group, 'attributes', attributes, 'capacity', capacity,
    'gateway', gateway, 'conn', conn, 'holder', holder, 'name', name, 'facts', facts, 'since', int(wall))
  redis.call('SADD', key.sessions(app), session)
  redis.call('SADD', key.group_sessions(group), session)
  redis.call('ZADD', key.leases, int(steady + limits.LEASE_MS), session)
  redis.call('ZADD', key.gateways, int(steady), gateway)
  announce(app, names)
  local listed = session_of(session)
  if listed then listed.changed = true end -- equivalent if true: what was written a few lines above can be read
end

local replies, named = {'ok'}, 0
for i = 1, ITEM_COUNT do
  local session, app, group, handlers, labels, attributes, capacity, gateway, conn, holder, name, facts = item(i)
  local word = 'ok'
  -- A session that is there: the same call once more, maybe much later. It may have a new home and another capacity.
  if redis.call('EXISTS', key.session(session)) == 0 then
    local names = split(handlers, ' ')
    if named > 0 and named + #names > limits.ENLIST_HANDLERS then
      word = 'more'
    else
      named = named + #names
      word = open_group(group, app, handlers, labels, names)
      if word == 'ok' then
        register(session, app, group, names, attributes, capacity, gateway, conn, holder, name, facts)
      end
    end
  end
  replies[#replies + 1] = word
end
settle(limits.BATCH_ITEMS)
if unfinished then replies[1] = 'more' end
return replies
