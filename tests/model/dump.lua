-- Everything the engine holds, for the tests: name, type and content of each key, in one reply.
local reads = {
  hash = function(name) return redis.call('HGETALL', name) end,
  zset = function(name) return redis.call('ZRANGE', name, 0, -1, 'WITHSCORES') end,
  set = function(name) return redis.call('SMEMBERS', name) end,
  list = function(name) return redis.call('LRANGE', name, 0, -1) end,
  stream = function(name) return redis.call('XRANGE', name, '-', '+') end,
  string = function(name) return redis.call('GET', name) end,
}
local found = {}
local names = redis.call('KEYS', '*')
table.sort(names)
for _, name in ipairs(names) do
  local kind = redis.call('TYPE', name).ok
  found[#found + 1] = {name, kind, reads[kind](name)}
end
return found
