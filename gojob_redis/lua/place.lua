-- Record the partition of an app when it is first seen, unless there are as many apps as there may be.
--
-- The only script of the control plane: its keys are in one slot, too, and they have no clock and no epoch.
--
-- ARGV   app         str   namespace/app
--        namespace   str
--        partition   int   where it is to be, if it is new
--        most        int   apps of this namespace
--        most_all    int   apps of all
-- REPLY  ok | apps_full
--        placed   int   the partition, or how many apps the namespace has
-- COST   O(1)
--!include keys
local placed = redis.call('HGET', key.apps, app)
if placed then return {'ok', tonumber(placed)} end
local count = tonumber(redis.call('HGET', key.app_counts, namespace) or nil) or 0
if redis.call('HLEN', key.apps) >= most_all
  or count >= most then return {'apps_full', count} end -- guard: a namespace has no more apps than it may
redis.call('HSET', key.apps, app, partition)
redis.call('HINCRBY', key.app_counts, namespace, 1)
return {'ok', partition}
