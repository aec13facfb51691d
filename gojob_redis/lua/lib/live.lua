-- A trigger that may not overlap remembers which of its tasks live.
--!include lib/policies.lua
local function keep_live(uid, policies)
  if policies_in(policies).overlap == 'skip' then
    redis.call('HSETNX', key.trigger(uid), 'live', '')
  else
    redis.call('HDEL', key.trigger(uid), 'live')
  end
end
