-- Lanes and what shows them: the record of a lane, its name in `lanes`, its queue, and its head in `ready`.
--!include limits
local function lane_name(lane)
  return lane.labels .. ATTRIBUTE .. lane.attribute
end

local function write_lane(handler, name, id, why)
  lanes[id] = keep_lane(id, handler, name) or false
  if lanes[id] then mend('lane', id, why, app_of(handler)) end
  return lanes[id]
end

-- The lane with this id; one whose record was written again meanwhile counts as mended.
local function lane_found(id)
  local lane = id and lane_with(id)
  if lane and lane.restored then
    mends = mends + 1
    lane.restored = nil
  end
  return lane
end

local function head_of(lane)
  local head = redis.call('ZRANGE', key.activeq(lane.id), 0, 0, 'WITHSCORES')[2]
  return not lane.blocked and head or nil
end

-- The head without what is left alone.
local function served_head_of(lane)
  local rows = redis.call('ZRANGE', key.activeq(lane.id), 0, limits.LEFT_ITEMS, 'WITHSCORES')
  for i = 1, #rows, 2 do
    local fields = record(rows[i])
    if not (fields and fields.later) then return rows[i + 1] end
  end
  return nil
end

-- A group that serves a lane sees its head, and no other score.
function check.shown(lane, head, group)
  local shown = redis.call('ZSCORE', key.ready(group, lane.attribute), lane.id) or nil
  if shown == head then return end
  head = head and served_head_of(lane)
  if shown == head then return end
  if head then
    redis.call('ZADD', key.ready(group, lane.attribute), head, lane.id)
    touch(group, lane.attribute, true)
  else
    redis.call('ZREM', key.ready(group, lane.attribute), lane.id)
  end
  mend('ready', lane.id, 'it did not show the head of the lane', app_of(lane.handler))
end

function check.head(lane)
  local head = head_of(lane)
  for _, group in ipairs(groups_of(lane)) do check.shown(lane, head, group) end
end

function check.pause(lane)
  local paused = redis.call('HEXISTS', key.handler(lane.handler), 'paused') == 1
  if paused and not lane.blocked then
    redis.call('HSET', key.lane(lane.id), 'blocked', 'paused')
    lane.blocked = 'paused'
  elseif not paused and lane.blocked == 'paused' then
    redis.call('HDEL', key.lane(lane.id), 'blocked')
    lane.blocked = false
  else
    return
  end
  mend('lane', lane.id, 'it did not say whether its handler is paused', app_of(lane.handler))
end

-- A lane without a name gets one; if it has another, of whatever handler, its record was changed.
local function name_lane(lane)
  local named_lane = lane_by_name(lane.id)
  if named_lane then
    named_lane.restored = nil
    lanes[lane.id] = named_lane
    mend('lane', lane.id, 'its record said otherwise', app_of(named_lane.handler))
    return named_lane
  end
  redis.call('HSET', key.lanes(lane.handler), lane_name(lane), lane.id)
  mend('lanes', lane.id, 'the lane had no name', app_of(lane.handler))
  return lane
end

function scrub.lane(id)
  local lane = lane_found(id)
  if not lane then
    drop('lane', id, key.lane(id), 'it says nothing about its handler')
    return
  end
  if not read_hash(key.lanes(lane.handler), lane_name(lane))[1] then lane = name_lane(lane) end
  know_handler(lane.handler, 0)
  if redis.call('SADD', key.app_lanes(app_of(lane.handler)), id) == 1 then
    mend('app_lanes', id, 'its app did not count the lane', app_of(lane.handler))
  end
  check.pause(lane)
  check.head(lane)
end

function scrub.lanes(handler, _, cursor)
  return page('HSCAN', key.lanes(handler), cursor, function(name, id)
    local lane = lane_with(id)
    if not lane then
      lane = write_lane(handler, name, id, 'its record was gone')
    elseif lane.handler ~= handler or lane_name(lane) ~= name then
      -- Whichever of the two the lane stands under by its own word as well is right; else its record was changed.
      local own = read_hash(key.lanes(lane.handler), lane_name(lane))[1] == id
      lane = not own and write_lane(handler, name, id, 'its record said otherwise')
    end
    if not lane then
      redis.call('HDEL', key.lanes(handler), name)
      mend('lanes', id, 'the name belongs to no lane', app_of(handler))
    end
  end)
end

function scrub.app_lanes(app, _, cursor)
  return page('SSCAN', key.app_lanes(app), cursor, function(id)
    local lane = lane_with(id)
    if lane and app_of(lane.handler) == app then return end
    redis.call('SREM', key.app_lanes(app), id)
    mend('app_lanes', id, 'the app has no such lane', app)
  end)
end

function scrub.handlers(_, _, cursor)
  return page('ZSCAN', key.handlers, cursor, function(handler)
    if redis.call('ZADD', key.app_handlers(app_of(handler)), 'NX', 0, handler) == 1 then
      mend('app_handlers', handler, 'its app did not list the handler', app_of(handler))
    end
  end)
end

function scrub.app_handlers(app, _, cursor)
  return page('ZSCAN', key.app_handlers(app), cursor, function(handler)
    if app_of(handler) == app and redis.call('ZSCORE', key.handlers, handler) then return end
    redis.call('ZREM', key.app_handlers(app), handler)
    mend('app_handlers', handler, 'nobody knows the handler', app)
  end)
end

function scrub.activeq(id, _, cursor)
  local lane = lane_found(id)
  local after = page('ZSCAN', key.activeq(id), cursor, function(run)
    local fields = record(run)
    local stands = fields and not fields.corrupt and fields.place == 'lane' and fields.lane == id
    if stands or (fields and fields.later) then return end
    redis.call('ZREM', key.activeq(id), run)
    mend('activeq', run, fields and 'the run stands elsewhere' or 'it has no record', lane and app_of(lane.handler))
  end)
  -- equivalent if without 2: looked at after every page, what is right stays
  if lane and not after then check.head(lane) end
  return after
end

function scrub.ready(group, attribute, cursor)
  local name = key.ready(group, attribute)
  if not is_there(key.group(group)) then
    drop('ready', group, name, 'the group is gone')
    return
  end
  return page('ZSCAN', name, cursor, function(id, shown)
    local lane = lane_with(id)
    local served = lane and lane.attribute == attribute
      and redis.call('SISMEMBER', key.groups_of(lane.handler, lane.labels), group) == 1
    if served then
      check.head(lane)
    else
      redis.call('ZREM', name, id)
      mend('ready', id, 'the group does not serve this lane', lane and app_of(lane.handler))
    end
  end)
end
