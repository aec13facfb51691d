-- How much a namespace may have. `quotas` has a line for each namespace whose own differ from the usual: its name, and
-- how many handlers, lanes and delayed tasks an app of it may have. It is only read where something new is to be made.
--!include limits
local USUAL = {handlers = limits.HANDLERS_PER_APP, lanes = limits.LANES_PER_APP, delayed = limits.DELAYED_PER_APP}
local quotas_by_name

local function quotas_of(app)
  if not quotas_by_name then -- equivalent if true: they are read once more; only the cost differs
    quotas_by_name = {}
    for line in string.gmatch(quotas, '[^\n]+') do
      local name, handlers, lanes, delayed = string.match(line, '^(%S+) (%d+) (%d+) (%d+)$')
      quotas_by_name[name] = {handlers = tonumber(handlers), lanes = tonumber(lanes), delayed = tonumber(delayed)}
    end
  end
  return quotas_by_name[string.match(app, '^[^/]+')] or USUAL
end

-- Whether these handlers would be too many for an app, together with those that are known.
local function has_room_for(app, handlers)
  local fresh = 0
  for _, handler in ipairs(handlers) do
    if not redis.call('ZSCORE', key.handlers, handler) then fresh = fresh + 1 end
  end
  if fresh == 0 then return true end
  -- guard: an app has no more handlers than it may
  if redis.call('ZCARD', key.app_handlers(app)) + fresh > quotas_of(app).handlers then return false end
  return true
end

-- Why an app may not have one more lane, of this handler; nil when it may.
local function why_no_lane(app, handler)
  -- guard: an app has no more lanes than it may
  if redis.call('SCARD', key.app_lanes(app)) >= quotas_of(app).lanes then return 'app_lanes_full' end
  if not has_room_for(app, {handler}) then return 'handlers_full' end
  return nil
end
