-- The guarded first read of a hash: what somebody turned into another type is told and goes, so that every later
-- command of the call finds a hash or nothing, and one bad record stops no batch.
--!include lib/words.lua
--!include lib/event.lua
local function guarded(name, values)
  if not values.err then return values end
  event('corrupt', 'key', name, 'why', 'it was no hash')
  redis.call('UNLINK', name)
  return {}
end

local function read_hash(name, ...)
  return guarded(name, redis.pcall('HMGET', name, ...))
end
