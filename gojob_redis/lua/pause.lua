-- Pause handlers, or let them go on: a paused handler's lanes keep their tasks and give none.
--
-- ARGV   now_ms   int  =clock   0 = ask Redis
--        nonce    str  =nonce   random part of the fences begun in this call
-- ITEM   handler   str
--        paused    int   1 = pause, 0 = go on
-- REPLY  ok | more ; no_epoch
-- EACH   word   ok | already
-- REST   match
-- MOVES  created waiting_to_run
-- FLAGS  allow-oom
-- COST   O(lanes · groups)
--!include limits
--!include lib/clock.lua
--!include lib/match.lua
local function block(handler)
  redis.call('HSET', key.handler(handler), 'paused', int(wall))
  local lane_names = names_of_lanes(handler)
  for at = 2, #lane_names, 2 do
    local id = lane_names[at]
    local lane = lane_with(id)
    if lane and not lane.blocked then
      redis.call('HSET', key.lane(id), 'blocked', 'paused')
      lane.blocked = 'paused'
      show_head(lane, nil)
    end
  end
end

local function unblock(handler)
  redis.call('HDEL', key.handler(handler), 'paused')
  local lane_names = names_of_lanes(handler)
  for at = 2, #lane_names, 2 do
    local id = lane_names[at]
    local lane = lane_with(id)
    if lane and lane.blocked == 'paused' then
      redis.call('HDEL', key.lane(id), 'blocked')
      lane.blocked = false
      show_head(lane, redis.call('ZRANGE', key.activeq(id), 0, 0, 'WITHSCORES')[2])
      for _, group in ipairs(groups_of(lane)) do touch(group, lane.attribute) end
    end
  end
end

local replies = {'ok'}
for i = 1, ITEM_COUNT do
  local handler, paused = item(i)
  local is_paused = read_hash(key.handler(handler), 'paused')[1]
  if (paused == 1) == (is_paused and true or false) then
    replies[#replies + 1] = 'already'
  else
    if paused == 1 then block(handler) else unblock(handler) end
    replies[#replies + 1] = 'ok'
  end
end
settle(limits.BATCH_ITEMS)
if unfinished then replies[1] = 'more' end
return replies
