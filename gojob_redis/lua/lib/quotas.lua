-- How much a namespace may have. `quotas` is one line of numbers for all (handlers and lanes of an app, delayed tasks of
-- an app), then a line for each namespace with its own, which begins with its name. It is only read where something new
-- is to be made.
local quotas_by_name

local function quotas_of(app)
  if not quotas_by_name then
    quotas_by_name = {}
    for line in string.gmatch(quotas, '[^\n]+') do
      local name, handlers, lanes, delayed = string.match(line, '^(%S-) ?(%d+) (%d+) (%d+)$')
      quotas_by_name[name] = {handlers = tonumber(handlers), lanes = tonumber(lanes), delayed = tonumber(delayed)}
    end
  end
  return quotas_by_name[string.match(app, '^[^/]+')] or quotas_by_name['']
end

-- Whether these handlers would be too many for an app, together with those that are known.
local function has_room_for(app, handlers)
  local fresh = 0
  for _, handler in ipairs(handlers) do
    if not redis.call('ZSCORE', key.handlers, handler) then fresh = fresh + 1 end
  end
  return fresh == 0 or redis.call('ZCARD', key.app_handlers(app)) + fresh <= quotas_of(app).handlers
end

-- Why an app may not have one more lane, of this handler; nil when it may.
local function why_no_lane(app, handler)
  if redis.call('SCARD', key.app_lanes(app)) >= quotas_of(app).lanes then return 'app_lanes_full' end
  if not has_room_for(app, {handler}) then return 'handlers_full' end
  return nil
end
