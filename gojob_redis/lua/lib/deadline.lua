-- The deadlines of a run. Only `watch` sets its entry in deadlineQ, to the earliest of them all, so that none takes the
-- place of another. Whoever changes a field that a deadline follows from calls it.
--
-- | deadline                      | holds while                           | is                                 |
-- |-------------------------------|---------------------------------------|------------------------------------|
-- | queue limit                   | it waits and never began              | `expires`, of a shard its task's   |
-- | accept limit                  | it is bound and did not begin         | the timer of its state             |
-- | run limit                     | it runs, and has one                  | the timer of its state             |
-- | retry, next look for a worker | it waits for that: its place is timer | the timer of its state             |
-- | a cancel sent again, grace    | it is bound and was asked to end      | computed from `cancel`             |
-- | asking the shards to end      | some were not asked yet               | now                                |
--
-- A state has one timer at most, and mostly nothing else is to be watched. Then the entry in deadlineQ is this timer, and
-- the record has no field for it. A cancel can come before it: so a cancel writes it into the record, as `timer`.
--!include lib/state.lua
--!include limits
--!include lib/words.lua
--!include lib/record.lua
--!include lib/timer.lua

local function has_timer(fields)
  if fields.shards then return false end
  if fields.state == 'running' then return (tonumber(policy(fields).run_limit) or 0) > 0 end
  return fields.state == 'waiting_to_run' or fields.place == 'timer'
end

-- The timer of the state a run is in, as this call set or read it, or as the record has it.
local function timer_of(fields)
  return has_timer(fields) and (timers[fields.run] or tonumber(fields.timer)) or nil
end

local function set_timer(fields, at)
  timers[fields.run] = at
  if fields.cancel then put(fields.run, 'timer', int(at)) end -- guard: a cancel hides no limit
end

-- What the entry in deadlineQ says is the timer, unless a cancel may have come before it.
local function take_entry(fields, entry)
  if entry and not fields.cancel then timers[fields.run] = tonumber(entry) end
end

-- The entry of a run in deadlineQ, nil when there is none.
local function entry_of(fields)
  return tonumber(redis.call('ZSCORE', key.deadlineq(handler_of(fields)), fields.run) or nil)
end

local function queue_limit_of(fields)
  local waits = fields.place == 'lane' or fields.place == 'timer'
  return waits and not fields.started and tonumber(policy(fields).expires) or nil
end

-- When a canceled run or task is looked at next. A run: every 2 s until its worker heard it, and when the grace is over.
-- A task: at once, as long as shards of it were not asked to end.
local function cancel_look_of(fields)
  local asked = tonumber(fields.cancel)
  if fields.shards then
    return (tonumber(fields.swept) or 0) < tonumber(fields.last_shard or fields.shards) and steady or nil
  end
  local sent = math.floor((steady - asked) / limits.CANCEL_RESEND_MS)
  local again = fields.cancel_heard and limits.CANCEL_GRACE_MS or (sent + 1) * limits.CANCEL_RESEND_MS
  return asked + math.min(again, limits.CANCEL_GRACE_MS)
end

-- The earliest deadline of a run, steady ms; nil when nothing is to be watched.
local function next_timer(fields)
  if TERMINAL[fields.state] then return nil end
  local timer, other = timer_of(fields), queue_limit_of(fields)
  if fields.cancel then other = cancel_look_of(fields) end
  return timer and other and math.min(timer, other) or timer or other
end

local function watch(fields)
  local at, handler = next_timer(fields), handler_of(fields)
  if at then arm(handler, fields.run, at) else disarm(handler, fields.run) end
end
