-- Begin a partition: its epoch, its data schema and its clocks. A partition that has an epoch keeps it.
--
-- ARGV   now_ms   int  =clock   0 = ask Redis
--        epoch    str           random word of this installation
--        tell     int           1 = leave an event: whatever this engine held before is not here
-- REPLY  ok | kept ; no_epoch
--        epoch   str   the one that holds
-- FLAGS  allow-oom
-- COST   O(1)
--!include keys
local stored_epoch = redis.call('HGET', key.meta, 'epoch')
if stored_epoch then return {'kept', stored_epoch} end
local wall = now_ms
if wall == 0 then
  local time = redis.call('TIME')
  wall = time[1] * 1000 + math.floor(time[2] / 1000)
end
local is_watched = false
--!include lib/words.lua
--!include lib/event.lua
redis.call('HSET', key.meta, 'epoch', epoch, 'schema', SCHEMA, 'raw', wall, 'steady', wall)
if tell == 1 then event('bootstrapped', 'epoch', epoch, 'why', 'the engine was empty') end
return {'ok', epoch}
