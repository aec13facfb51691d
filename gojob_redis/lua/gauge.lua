-- Tell what waits for handlers: how much there is in which of their lanes, and since when the next in turn is ready.
--
-- ARGV   now_ms    int  =clock   0 = ask Redis
--        idle      int           1 = tell lanes in which nothing waits, too
-- ITEM   handler   str           namespace/app/handler
-- REPLY  ok | more ; no_epoch
--        wall      int           now
--        gauged    int           how many handlers were looked at: a call ends behind the one that fills it with lanes
--        handlers  rows          of each of these: when it was announced last, since when it is paused, how many lanes
--        lanes     rows          of each lane: the number of its handler, its id, labels and attribute, how many wait,
--                                and the score of the next in turn
-- FLAGS  no-writes
-- COST   O(items + lanes)
--!include limits
--!include lib/reading.lua
--!include lib/sound.lua
local wall = now_ms
if wall == 0 then
  local time = redis.call('TIME')
  wall = time[1] * 1000 + math.floor(time[2] / 1000)
end
local handler_rows, lane_rows, looked = {}, {}, 0

local function gauge_lane(at, id, name)
  local depth = sound(redis.pcall('ZCARD', key.activeq(id)), 0)
  if depth == 0 and idle == 0 then return end
  local head = depth > 0 and redis.call('ZRANGE', key.activeq(id), 0, 0, 'WITHSCORES')[2] or ''
  lane_rows[#lane_rows + 1] = {at, id, name, depth, head}
end

local function gauge_handler(at, handler)
  local lane_names = sound(redis.pcall('HGETALL', key.lanes(handler)), {})
  for i = 1, #lane_names, 2 do gauge_lane(at, lane_names[i + 1], lane_names[i]) end
  looked = looked + #lane_names / 2
  local announced = redis.call('ZSCORE', key.handlers, handler) or ''
  local paused = sound(redis.pcall('HGET', key.handler(handler), 'paused'), '') or ''
  handler_rows[#handler_rows + 1] = {announced, paused, #lane_names / 2}
end

for i = 1, ITEM_COUNT do
  gauge_handler(i - 1, (item(i)))
  if looked >= limits.GAUGE_LANES and i < ITEM_COUNT then return {'more', wall, i, handler_rows, lane_rows} end
end
return {'ok', wall, ITEM_COUNT, handler_rows, lane_rows}
