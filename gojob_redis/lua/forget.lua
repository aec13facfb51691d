-- Forget what apps have of handlers and queues that have nothing any more: no trigger, no worker, no task, no history.
-- Their place in the control plane goes after that: lua/unplace.lua. An app of which some handlers did not fit answers
-- `more`.
--
-- ARGV   now_ms   int  =clock   0 = ask Redis
-- ITEM   app      str
-- REPLY  ok ; no_epoch
-- EACH   word   gone | busy | more
-- FLAGS  allow-oom
-- COST   O(handlers and their queues), about 100 and 250 a call
--!include limits
--!include lib/clock.lua
--!include lib/lane.lua
local handlers_left, lanes_left = limits.BATCH_ITEMS, limits.RETIRE_LANES

-- What happened lately counts as history: figures and failures are kept for 60 days, removed triggers for 30.
local function is_app_busy(app)
  return redis.call('EXISTS', key.triggers(app), key.sessions(app), key.due(app), key.failed(app), key.removals(app),
    key.totals(app), key.failures(app)) > 0
end

local function is_handler_busy(handler, lane_names)
  local announced = tonumber(redis.call('ZSCORE', key.handlers, handler) or nil) or 0
  if announced > wall - limits.HANDLER_KNOWN_MS then return true end -- guard: a worker may come back with a handler
  if redis.call('EXISTS', key.history(handler), key.pinned(handler), key.deadlineq(handler), key.handler(handler)) > 0 then
    return true
  end
  for at = 2, #lane_names, 2 do
    if redis.call('EXISTS', key.activeq(lane_names[at])) > 0 then return true end -- guard: work that waits keeps its app
  end
  return false
end

local function forget_handler(app, handler, lane_names)
  for at = 2, #lane_names, 2 do
    redis.call('UNLINK', key.lane(lane_names[at]))
    redis.call('SREM', key.app_lanes(app), lane_names[at])
  end
  redis.call('UNLINK', key.lanes(handler))
  redis.call('ZREM', key.alarms, handler)
  redis.call('ZREM', key.handlers, handler)
  redis.call('ZREM', key.app_handlers(app), handler)
end

local function forget(app)
  if is_app_busy(app) then return 'busy' end -- guard: an app that has something stays
  for _, handler in ipairs(redis.call('ZRANGE', key.app_handlers(app), 0, limits.BATCH_ITEMS - 1)) do
    local lane_names = names_of_lanes(handler)
    if is_handler_busy(handler, lane_names) then return 'busy' end
    if handlers_left <= 0 or lanes_left <= 0 then return 'more' end -- guard: a call forgets so many handlers
    forget_handler(app, handler, lane_names)
    handlers_left, lanes_left = handlers_left - 1, lanes_left - #lane_names / 2
  end
  return redis.call('EXISTS', key.app_handlers(app)) > 0 and 'more' or 'gone'
end

local replies = {'ok'}
for i = 1, ITEM_COUNT do
  local app = item(i)
  replies[#replies + 1] = forget(app)
end
return replies
