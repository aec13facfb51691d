-- deadlineQ: one sorted set per handler; an entry means «look at this run» at that steady time.
--
-- `alarms` holds a lower bound of each handler's earliest entry, so that looking at all handlers is one range read.
-- A timer that is nearer than the loops' own rhythm of 500 ms is announced on the wake stream.
--!include lib/state.lua
--!include limits

local function wake(what)
  if announced then return end
  announced = true
  redis.call('XADD', key.wake, 'MAXLEN', '~', limits.WAKE_ITEMS, '*', 'what', what)
end

local function arm(handler, run, at)
  armed[handler] = armed[handler] or {}
  local entries = armed[handler]
  entries[run] = at
  -- equivalent if false: old timers go before new ones are set; only the cost differs
  if disarmed[handler] then disarmed[handler][run] = nil end
end

local function disarm(handler, run)
  disarmed[handler] = disarmed[handler] or {}
  disarmed[handler][run] = true
  if armed[handler] then armed[handler][run] = nil end
end

local function settle_timers()
  for handler, runs in pairs(disarmed) do
    local gone = {}
    for run in pairs(runs) do gone[#gone + 1] = run end
    in_pieces('ZREM', key.deadlineq(handler), gone)
  end
  for handler, entries in pairs(armed) do
    local args, earliest = {}, nil
    for run, at in pairs(entries) do
      args[#args + 1] = at
      args[#args + 1] = run
      if not earliest or at < earliest then earliest = at end
    end
    if earliest then
      in_pieces('ZADD', key.deadlineq(handler), args)
      redis.call('ZADD', key.alarms, 'LT', int(earliest), handler)
      if earliest < steady + limits.WAKE_AHEAD_MS then wake('alarm') end
    end
  end
  armed, disarmed = {}, {}
end
