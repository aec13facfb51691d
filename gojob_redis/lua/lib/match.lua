-- Binds runs to sessions. Both meet in groups: sessions with a free seat, emptiest first, and lanes with work, by head.
--
-- Every verb that adds work or frees a seat uses it. A bind touches one group, whatever the number of handlers, lanes,
-- tasks and workers. A call binds at most 100 runs and 256 KiB; a verb that stops there answers `more`.
--!include lib/state.lua
--!include limits
--!include lib/words.lua
--!include lib/event.lua
--!include lib/timer.lua
--!include lib/record.lua
--!include lib/lane.lua
--!include lib/deadline.lua
--!include lib/seat.lua
--!include lib/inbox.lua
--!include lib/finish.lua

-- The complete assignment, as the gateway relays it. A payload over 4 KiB is left for the gateway to fetch.
local function dispatch(fields, seat, handler, session)
  local owner = policy(fields)
  local task, shard = task_of(fields.run)
  local size = tonumber(owner.param_size) or 0
  local param = owner.param or ''
  if size > 0 and size <= limits.INBOX_PARAM_BYTES then param = redis.call('GET', key.param(task)) or '' end
  local shard_param = ''
  -- equivalent if true: a task of which none were kept has none to be read; only the cost differs
  if owner.shard_params then shard_param = redis.call('HGET', key.shard_params(task), tostring(shard)) or '' end
  tell(session.gateway, seat, 'run', session.id, session.conn, fields.run, fields.attempt, fields.fence,
    handler, owner.shards or '1', fields.tries or '0', owner.retries or '0', owner.run_limit or '0',
    owner.on_lost == 'fault' and '1' or '0', owner.trigger or '',
    (owner.made or '0') .. (owner.traceparent and ' ' .. owner.traceparent or ''), size > limits.INBOX_PARAM_BYTES and int(size) or '0', tostring(#param), param .. shard_param)
end

local function bind(fields, lane, session, score)
  local attempt = int((tonumber(fields.attempt) or 0) + 1)
  local least = fence_number(fields.fence) + 1
  local fence = (least > wall and int(least) or now) .. '-' .. nonce
  put(fields.run, 'state', 'waiting_to_run', 'place', 'session', 'session', session.id, 'worker', session.name,
    'attempt', attempt, 'fence', fence)
  if not fields.made or score_of(fields) ~= score then put(fields.run, 'score', int(score)) end
  local seat = seat_of(fields)
  take_seat(session, seat)
  set_timer(fields, steady + limits.ACCEPT_MS)
  watch(fields) -- guard: what was bound is watched
  dispatch(fields, seat, lane.handler, session)
  bound = bound + 1
end

local function stopped()
  return bound >= limits.BATCH_ITEMS or inbox_bytes >= limits.BATCH_BYTES
end

local function offers(session, attribute)
  if attribute == '' then return true end
  for _, offered in ipairs(session.attributes) do
    if offered == attribute then return true end
  end
  return false
end

-- Puts the free seats of a session into the pool. A session on a silent gateway is put out of waiting; its next renewal
-- brings it back.
local function offer(pool, session)
  if not has_room(session) then return end
  if not gateway_heard(session.gateway) then -- guard: nothing is bound to a session of a silent gateway
    turn_off(session, 'silent')
    return
  end
  local level = pool.levels[session.used] or {}
  pool.levels[session.used] = level
  level[#level + 1] = session
  pool.lowest = math.min(pool.lowest or session.used, session.used)
  pool.seats = pool.seats + session.capacity - session.used
end

-- A session that the waiting list names, and that this call did not read before.
local function offer_waiting(pool, list, id, used)
  local session = session_of(id, used)
  if not session then
    redis.call('ZREM', list, id)
    return
  end
  session.listed = true
  session.changed = session.changed or not has_room(session)
  offer(pool, session)
end

-- Free seats of a group, sessions grouped by how many seats they have taken; as many sessions as there is work, so that
-- it spreads. `whole`: the list was read to its end.
local function pool_of(group, attribute, work)
  local pool = {group = group, seats = 0, lowest = nil, levels = {}, whole = false}
  local read_before = 0
  for _, session in pairs(sessions) do
    read_before = read_before + 1
    if session and session.group == group and offers(session, attribute) then offer(pool, session) end
  end
  local list = key.waiting(group, attribute)
  local first = 0
  while pool.seats == 0 or first == 0 do
    local last = first + work + read_before - 1
    local rows = redis.call('ZRANGE', list, first, last, 'WITHSCORES')
    for i = 1, #rows, 2 do
      if sessions[rows[i]] == nil then offer_waiting(pool, list, rows[i], tonumber(rows[i + 1])) end
    end
    if #rows < 2 * (last - first + 1) then
      pool.whole = true
      break
    end
    first = last + 1
    if first > limits.POOL_SESSIONS then
      unfinished = true
      break
    end
  end
  return pool
end

-- Takes one seat of the emptiest session; `alone` asks for a session with no seat taken at all.
local function next_seat(pool, alone)
  while pool.seats > 0 do
    local level = pool.levels[pool.lowest]
    if level and #level > 0 then
      if alone and pool.lowest > 0 then return nil end
      local session = table.remove(level)
      pool.seats = pool.seats - 1
      if alone then
        pool.seats = pool.seats - (session.capacity - 1)
      elseif session.used + 1 < session.capacity then
        local above = pool.levels[session.used + 1] or {}
        pool.levels[session.used + 1] = above
        table.insert(above, 1, session)
      end
      return session
    end
    pool.lowest = pool.lowest + 1
  end
  return nil
end

-- Binds a run that has to be alone to the session that is reserved for it, as soon as that session is idle. True when
-- the run was bound or goes on waiting, so that nothing else is to be done. The run does not wait for a session whose
-- worker drains or has no socket: that could last as long as the lease.
local function bind_reserved(fields, lane)
  local session = fields.reserved and session_of(fields.reserved)
  if not session or session.off ~= 'reserved' or not reserved_for(session) then return false end
  if session.capacity == 0 or session.drained or not gateway_heard(session.gateway) then
    turn_on(session)
    return false
  end
  if session.used > 0 or lane.blocked then
    set_timer(fields, steady + limits.SOLO_LOOK_MS)
    watch(fields)
    return true
  end
  bind(fields, lane, session, score_of(fields))
  turn_off(session, 'solo')
  return true
end

-- No session is idle: reserves the emptiest one for a run that has to be alone, unless the group has a reserved
-- session. `next_seat` has just stopped at the level of the emptiest.
local function reserve(fields, pool)
  local id = string.match(read_hash(key.group(pool.group), 'reserved')[1] or '', '^(%S+)')
  local reserved = id and session_of(id)
  if reserved and reserved.off == 'reserved' and reserved_for(reserved) then return end
  if reserved and reserved.off == 'reserved' then turn_on(reserved) end
  local session = table.remove(pool.levels[pool.lowest])
  pool.seats = pool.seats - (session.capacity - session.used)
  turn_off(session, 'reserved')
  put(fields.run, 'reserved', session.id)
  redis.call('HSET', key.group(pool.group), 'reserved', session.id .. ' ' .. fields.run)
end

-- A sharded task stands in its lane once; each bind makes the record of its next shard. True when none is left.
local function bind_shards(task, lane, pool, score)
  local shard, shards = tonumber(task.next) or 0, tonumber(task.shards)
  if task.state == 'created' then put(task.run, 'state', 'waiting_to_run') end
  while shard < shards and pool.seats > 0 and not stopped() do
    local run = task.run .. '.' .. int(shard)
    make(run, {lane = lane.id, state = 'created'})
    bind(records[run], lane, next_seat(pool), score)
    shard = shard + 1
  end
  put(task.run, 'next', int(shard))
  if shard < shards then return false end
  put(task.run, 'place', 'none')
  if task.expires then watch(task) end
  return true
end

-- One member of a lane: true when it leaves the lane, nil when it is left alone.
local function serve_member(member, lane, pool, score)
  local fields = record(member)
  if not fields then
    event('orphan', 'run', member, 'lane', lane.id, 'handler', lane.handler)
    return true
  elseif fields.later then
    return nil
  elseif fields.corrupt then
    set_aside(member, lane)
    return true
  elseif fields.place ~= 'lane' then
    event('stale', 'run', member, 'lane', lane.id, 'handler', lane.handler)
    return true
  elseif fields.shards then
    return bind_shards(fields, lane, pool, score)
  elseif (tonumber(fields.lost) or 0) >= limits.LOSSES - 1 then
    local session = next_seat(pool, true)
    if session then
      bind(fields, lane, session, score)
      turn_off(session, 'solo')
    else
      reserve(fields, pool)
      put(member, 'place', 'timer', 'score', int(score))
      set_timer(fields, steady + limits.SOLO_LOOK_MS)
      watch(fields)
    end
    return true
  end
  bind(fields, lane, next_seat(pool), score)
  return true
end

-- Gives the head of a lane to the pool, up to the head of the next lane of the same group.
local function serve_lane(lane, pool, next_head)
  local limit = math.min(pool.seats, limits.BATCH_ITEMS - bound)
  local first = lane.left or 0 -- so many at its head are left alone
  local rows = redis.call('ZRANGE', key.activeq(lane.id), first, first + limit, 'WITHSCORES')
  local gone, head = {}, nil
  for i = 1, #rows, 2 do
    local score = tonumber(rows[i + 1])
    if pool.seats <= 0 or stopped() or (next_head and score > next_head) then
      head = score
      break
    end
    local leaves = serve_member(rows[i], lane, pool, score)
    if leaves then
      gone[#gone + 1] = rows[i]
    elseif leaves == nil then
      lane.left = (lane.left or 0) + 1
    else
      head = score
      break
    end
  end
  in_pieces('ZREM', key.activeq(lane.id), gone)
  -- equivalent if true, without 1, without 2: the head is read once more, and is what it was; only the cost differs
  if not head and #rows == 2 * (limit + 1) then
    first = lane.left or 0
    head = first <= limits.LEFT_ITEMS and tonumber(redis.call('ZRANGE', key.activeq(lane.id), first, first, 'WITHSCORES')[2])
  end
  show_head(lane, head and int(head))
end

-- Whether a group serves a lane. A lane that it does not serve would stay at the head of its `ready` for ever.
local function is_served(lane, group, attribute)
  if lane.attribute ~= attribute then return false end
  for _, serving in ipairs(groups_of(lane)) do
    if serving == group then return true end
  end
  return false
end

-- Binds until one side is empty. The side that is more likely empty is looked at first.
local function match_group(group, attribute, has_work, work)
  local ready = key.ready(group, attribute)
  local pool = has_work and pool_of(group, attribute, work)
  while not pool or pool.seats > 0 do
    local heads = redis.call('ZRANGE', ready, 0, 1, 'WITHSCORES')
    if not heads[1] then return end
    if stopped() then
      unfinished = true
      return
    end
    local lane = lane_with(heads[1])
    if lane and not lane.blocked and is_served(lane, group, attribute) then
      pool = pool or pool_of(group, attribute, work)
      if pool.seats <= 0 then return end -- equivalent if false: nothing is bound without a seat; only the cost differs
      serve_lane(lane, pool, tonumber(heads[4] or nil))
      -- equivalent if true, without 1, without 2: the free seats are what they were; only the cost differs
      if pool.seats <= 0 and not pool.whole then pool = pool_of(group, attribute, work) end
    else
      redis.call('ZREM', ready, heads[1])
    end
  end
end

-- Called once by each verb, after its own writes: settles what it gathered and binds what can be bound.
local function settle(work)
  settle_given()
  settle_lanes()
  for _, pair in pairs(touched) do
    if pair[2] ~= '' then match_group(pair[1], pair[2], pair[3], work) end
  end
  for _, pair in pairs(touched) do
    -- equivalent if true: what was matched a moment ago has nothing left; only the cost differs
    if pair[2] == '' then match_group(pair[1], '', pair[3], work) end
  end
  settle_records()
  settle_seats()
  settle_inboxes()
  settle_timers()
  settle_filed()
  settle_faults()
  settle_tally()
end
