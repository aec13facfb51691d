-- The two clocks of a partition, read once at the top of every script, in ms; `micros` is the rest of `wall`.
--
-- `wall` decides slots. `steady` decides leases, backoffs and limits: it takes part in at most one second of any
-- jump of the wall clock, so an engine that stood still, restarted or was set to another hour ends no lease.
-- Data of another schema is not touched at all: a newer release has changed it beyond what this one knows, or it is of
-- a release whose data this one does not read.
-- `is_watched` says that somebody wants to know what changes: lib/changes.lua.
-- It is written back only when it moved 100 ms, because a script that reads it computes the same value anyway.
--!include limits
--!include keys
local wall, steady, jumped_at, micros = 0, 0, 0, 0
local watched_until, is_watched = 0, false
do
  local meta = redis.call('HMGET', key.meta, 'epoch', 'raw', 'steady', 'jumped_at', 'schema', 'watched')
  if not meta[1] then return {'no_epoch'} end -- guard: an emptied partition is not worked on
  local schema = tonumber(meta[5] or nil) or 1
  -- guard: data of another schema is not worked on
  if schema ~= SCHEMA then return {schema > SCHEMA and 'newer_schema' or 'older_schema', schema} end
  wall = now_ms
  if wall == 0 then
    local time = redis.call('TIME')
    micros = time[2] % 1000
    wall = time[1] * 1000 + (time[2] - micros) / 1000
  end
  local moved = wall - (tonumber(meta[2]) or wall)
  local passed = moved
  -- guard: an outage takes at most a second of a lease
  if passed > limits.STEADY_STEP_MS then passed = limits.STEADY_STEP_MS end
  if passed < 0 then passed = 0 end -- guard: a clock that steps back takes nothing of a lease
  steady = (tonumber(meta[3]) or wall) + passed
  jumped_at = tonumber(meta[4]) or 0
  watched_until = tonumber(meta[6] or nil) or 0
  is_watched = watched_until > steady
  if moved > limits.STEADY_STEP_MS then
    jumped_at = steady
    redis.call('HSET', key.meta, 'raw', wall, 'steady', steady, 'jumped_at', jumped_at)
  elseif moved >= limits.STEADY_WRITE_MS or moved < 0 then
    redis.call('HSET', key.meta, 'raw', wall, 'steady', steady)
  end
end
