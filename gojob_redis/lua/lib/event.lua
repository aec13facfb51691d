-- The event log: what did not go as planned, with its reason.
--
-- Each app has a stream of its own, so that nobody's failures push out what others have to know; what belongs to no app
-- stands in the partition's. Over 100 of one kind and handler in a minute become one entry with their `count`, which
-- each of them replaces. A stream forgets by itself what is older than 7 days, whole when nothing more comes.
-- With `trace` in the partition's meta all is written to the partition's stream besides: evidence for the fault suite.
--!include lib/state.lua
--!include lib/changes.lua
--!include limits
local is_traced

local function tell_app(app, is_first, ...)
  local stream = key.app_events(app)
  local id = redis.call('XADD', stream, 'MAXLEN', '~', limits.EVENTS_PER_APP, '*', ...)
  if is_first then -- equivalent if true: it is trimmed with each event; only the cost differs
    redis.call('XTRIM', stream, 'MINID', int(tonumber(string.match(id, '^%d+')) - limits.EVENTS_KEPT_MS))
    redis.call('PEXPIRE', stream, limits.EVENTS_KEPT_MS)
    redis.call('ZADD', key.event_apps, int(wall), app)
    redis.call('ZREMRANGEBYSCORE', key.event_apps, '-inf', int(wall - limits.EVENTS_KEPT_MS))
  end
  return id
end

-- Tells something that happened so many times.
local function event_of(times, kind, ...)
  local flat, app, handler = {...}, nil, ''
  for i = 1, #flat, 2 do
    if flat[i] == 'app' then app = flat[i + 1] end
    if flat[i] == 'handler' then handler = flat[i + 1] end
  end
  app = app or string.match(handler, '^([^/]+/[^/]+)/') or ''
  app = string.match(app, '^[a-z0-9][a-z0-9._-]*/[a-z0-9][a-z0-9._-]*$')
  tell_app_changed(app or '')
  -- equivalent if true: it is read once more; only the cost differs
  if is_traced == nil then is_traced = redis.call('HGET', key.meta, 'trace') == '1' end
  if not app or is_traced then
    redis.call('XADD', key.events, 'MAXLEN', '~', limits.EVENTS_PER_PARTITION, '*', 'kind', kind, 'wall', int(wall), ...)
  end
  if not app then return end
  local minute, name = math.floor(wall / limits.MINUTE_MS), kind .. ' ' .. handler
  local counts = key.event_counts(app, int(minute))
  local before = counted[counts .. name] or redis.call('HGET', counts, name) or '0'
  local count, entry = tonumber(string.match(before, '^%d+')) + times, string.match(before, ' (.+)$')
  if count <= limits.EVENTS_EACH_MINUTE then
    tell_app(app, count == 1, 'kind', kind, 'wall', int(wall), ...)
    counted[counts .. name] = int(count)
  else
    if entry then redis.call('XDEL', key.app_events(app), entry) end
    entry = tell_app(app, false, 'kind', kind, 'wall', int(wall), 'app', app, 'handler', handler,
      'count', int(count - limits.EVENTS_EACH_MINUTE), 'since', int(minute * limits.MINUTE_MS))
    counted[counts .. name] = int(count) .. ' ' .. entry
  end
  redis.call('HSET', counts, name, counted[counts .. name])
  -- equivalent if true: the counts of a minute stay a minute longer at most
  if count == 1 then redis.call('PEXPIRE', counts, 2 * limits.MINUTE_MS) end
end

local function event(kind, ...)
  event_of(1, kind, ...)
end
