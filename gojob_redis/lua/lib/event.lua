-- The event log of a partition: what was not the plain course of things, with its reason.
-- Trimmed to about 100,000 entries at every append.
local function event(kind, ...)
  redis.call('XADD', key.events, 'MAXLEN', '~', 100000, '*', 'kind', kind, 'wall', int(wall), ...)
end
