-- Forget where an app is: it has nothing there any more, and counts no longer among those of its namespace.
--
-- Of the control plane, as lua/place.lua.
--
-- ARGV   app         str   namespace/app
--        namespace   str
--        partition   int   where it is, as the caller has seen it
-- REPLY  ok | already
-- FLAGS  allow-oom
-- COST   O(1)
--!include keys
local place = redis.call('HGET', key.apps, app)
if tonumber(place or nil) ~= partition then return {'already'} end -- guard: an app that is elsewhere stays
redis.call('HDEL', key.apps, app)
if redis.call('HINCRBY', key.app_counts, namespace, -1) <= 0 then redis.call('HDEL', key.app_counts, namespace) end
return {'ok'}
