-- activeQ: one sorted set per lane, and a lane is one handler with one set of required labels (and at most one
-- required attribute). A group's `ready` index holds the lanes it serves that have work and are not blocked, by head.
--!include lib/state.lua
--!include limits
--!include lib/hash.lua
local ATTRIBUTE = '\31'

local function app_of(handler)
  return string.match(handler, '^([^/]+/[^/]+)/') or ''
end

-- Puts a handler that was not known among those of the partition, by when it was announced, and of its app, by name.
local function know_handler(handler, announced)
  if redis.call('ZADD', key.handlers, 'NX', announced, handler) == 0 then return false end
  redis.call('ZADD', key.app_handlers(app_of(handler)), 0, handler)
  return true
end

-- Names and ids of a handler's lanes, in turn.
local function names_of_lanes(handler)
  return guarded(key.lanes(handler), redis.pcall('HGETALL', key.lanes(handler)))
end

-- The attribute in the name of a lane that requires these labels; nil in that of another one.
local function attribute_of(name, labels)
  if string.sub(name, 1, #labels + 1) ~= labels .. ATTRIBUTE then return nil end
  return string.sub(name, #labels + 2)
end

local function keep_lane(id, handler, name)
  local labels, attribute = string.match(name, '^(.-)' .. ATTRIBUTE .. '(.*)$')
  if not labels then return nil end
  redis.call('UNLINK', key.lane(id))
  redis.call('HSET', key.lane(id), 'handler', handler, 'labels', labels, 'attribute', attribute)
  local blocked = read_hash(key.handler(handler), 'paused')[1] and 'paused'
  if blocked then redis.call('HSET', key.lane(id), 'blocked', blocked) end
  return {id = id, handler = handler, labels = labels, attribute = attribute, blocked = blocked, restored = true}
end

-- A record that does not say what the lane is: the lane's name still does, in the index of its handler.
local function lane_by_name(id)
  if id == '0' then return nil end -- equivalent if false: no lane has this number; only the cost differs
  for _, handler in ipairs(redis.call('ZRANGE', key.handlers, 0, limits.LANE_SEARCH_HANDLERS - 1)) do
    local lane_names = names_of_lanes(handler)
    for i = 1, #lane_names, 2 do
      if lane_names[i + 1] == id then
        return keep_lane(id, handler, lane_names[i])
      end
    end
  end
  return nil
end

local function lane_with(id)
  local lane = lanes[id]
  if lane ~= nil then return lane end
  local facts = read_hash(key.lane(id), 'handler', 'labels', 'attribute', 'blocked')
  if facts[2] and facts[3] and string.find(facts[1] or '', '^[^/]+/[^/]+/.') then
    lane = {id = id, handler = facts[1], labels = facts[2], attribute = facts[3], blocked = facts[4]}
  else
    lane = lane_by_name(id) or false
    if lane then
      event('mended', 'what', 'lane', 'id', id, 'why', 'its record could not be read', 'handler', lane.handler)
    end
  end
  lanes[id] = lane
  return lane
end

-- The lane for this handler, labels and attribute, made when it is new; nil and a word when the handler has its 256
-- already, or `why_not(app, handler)` says why there may not be another.
local function lane_of(handler, labels, attribute, why_not)
  local name = labels .. ATTRIBUTE .. attribute
  local cached = handler .. ATTRIBUTE .. name
  local id = lane_ids[cached] or read_hash(key.lanes(handler), name)[1]
  if not id then
    if redis.call('HLEN', key.lanes(handler)) >= limits.LANES_PER_HANDLER then return nil, 'lanes_full' end
    local why = why_not and why_not(app_of(handler), handler)
    if why then return nil, why end
    id = tostring(redis.call('HINCRBY', key.meta, 'lane_seq', 1))
    redis.call('HSET', key.lanes(handler), name, id)
    redis.call('SADD', key.app_lanes(app_of(handler)), id)
    know_handler(handler, 0)
    redis.call('HSET', key.lane(id), 'handler', handler, 'labels', labels, 'attribute', attribute)
    if read_hash(key.handler(handler), 'paused')[1] then redis.call('HSET', key.lane(id), 'blocked', 'paused') end
  end
  lane_ids[cached] = id
  return lane_with(id)
end

local function groups_of(lane)
  lane.groups = lane.groups or redis.call('SMEMBERS', key.groups_of(lane.handler, lane.labels))
  return lane.groups
end

-- Tells every group that serves a lane where its head stands now: a score, or nil for nothing to give.
local function show_head(lane, score)
  for _, group in ipairs(groups_of(lane)) do
    if score and not lane.blocked then
      redis.call('ZADD', key.ready(group, lane.attribute), score, lane.id)
    else
      redis.call('ZREM', key.ready(group, lane.attribute), lane.id)
    end
  end
end

local function enqueue(lane, member, score)
  queued[lane.id] = queued[lane.id] or {}
  local entries = queued[lane.id]
  entries[#entries + 1] = score
  entries[#entries + 1] = member
  lane.low = math.min(lane.low or score, score)
end

-- Remembers a group to be matched. `has_work`: a lane of it was just given work, so its seats are looked at first.
local function touch(group, attribute, has_work)
  local name = group .. ATTRIBUTE .. attribute
  local before = touched[name]
  touched[name] = {group, attribute, has_work or (before and before[3])}
end

-- Writes what was enqueued, one command per lane, and shows the new heads.
local function settle_lanes()
  for id, entries in pairs(queued) do
    local lane = lane_with(id)
    in_pieces('ZADD', key.activeq(id), entries)
    if not lane.blocked then
      for _, group in ipairs(groups_of(lane)) do
        redis.call('ZADD', key.ready(group, lane.attribute), 'LT', int(lane.low), id)
        touch(group, lane.attribute, true)
      end
    end
    lane.low = nil
  end
  queued = {}
end
