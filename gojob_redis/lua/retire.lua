-- Forget the oldest terminal tasks of a handler, record and everything that hangs on it together; and fault what has
-- waited in its lanes longer than the default queue limit.
--
-- ARGV   now_ms    int  =clock   0 = ask Redis
--        limit     int           most tasks retired in this call
--        keep_ms   int           how long a terminal task is kept
--        keep      int           how many terminal tasks of this handler are kept
--        wait_ms   int           the default queue limit
-- ITEM   handler   str
-- REPLY  ok | more ; no_epoch
--        retired   int   how many were retired
--        looked    int  =0   how many handlers were looked at, where others did not fit
-- MOVES  created faulted ; created canceled
--        waiting_to_run faulted ; waiting_to_run canceled ; running faulted ; running canceled
-- FLAGS  allow-oom
-- COST   O(tasks retired), shards included, and O(lanes), about 250 a call
--!include limits
--!include lib/clock.lua
--!include lib/words.lua
--!include lib/event.lua
--!include lib/timer.lua
--!include lib/record.lua
--!include lib/lane.lua
--!include lib/deadline.lua
--!include lib/seat.lua
--!include lib/inbox.lua
--!include lib/finish.lua
--!include lib/due.lua
--!include lib/cancel.lua
--!include lib/log.lua
local retired, budget, lanes_left = 0, limit, limits.RETIRE_LANES

-- `logged` as the record of its task says it: so what logged nothing costs no look at a log.
local function unlink_run(run, logged)
  redis.call('UNLINK', key.task(run), key.param(run), key.result(run), key.attempts(run))
  if logged then log.forget(run) end -- equivalent if true: there is nothing to forget; only the cost differs
  budget = budget - 1
end

-- True when the task is gone whole; a sharded one may need several calls. Nil when it is left alone.
local function retire_task(task)
  local facts = read_hash(key.task(task), 'shards', 'retired', 'state', 'place', 'logged')
  if later_field({state = facts[3], place = facts[4]}) then return nil end
  local shards = tonumber(facts[1] or nil)
  if shards then
    local shard = tonumber(facts[2] or nil) or 0
    while shard < shards and budget > 0 do
      unlink_run(task .. '.' .. int(shard), facts[5])
      shard = shard + 1
    end
    if shard < shards then
      redis.call('HSET', key.task(task), 'retired', int(shard))
      return false
    end
    redis.call('UNLINK', key.shard_params(task))
  end
  unlink_run(task, facts[5])
  retired = retired + 1
  return true
end

local function retire_handler(handler)
  local history = key.history(handler)
  local surplus = redis.call('ZCARD', history) - keep
  local gone, left, before, at = {}, 0, nil, 0
  repeat
    before = left
    local oldest = redis.call('ZRANGE', history, at, at + math.max(0, budget - 1), 'WITHSCORES')
    at = at + #oldest / 2
    for i = 1, #oldest, 2 do
      local age = wall - tonumber(oldest[i + 1])
      if budget <= 0
        or age < limits.HISTORY_MIN_MS -- guard: nothing terminal is retired before 60 s
        or (age < keep_ms and #gone >= surplus) then break end
      local is_gone = retire_task(oldest[i])
      if is_gone == nil then
        left = left + 1
      elseif is_gone then
        gone[#gone + 1] = oldest[i]
      else
        break
      end
    end
  until left == before or budget <= 0 or left > limits.LEFT_ITEMS
  in_pieces('ZREM', history, gone)
  if #gone > 0 then happened(handler, 'd' .. int(#gone)) end
end

-- A handler that a live group serves stays known, however long ago its sessions began.
local function refresh(handler, lane)
  if lane and redis.call('EXISTS', key.groups_of(handler, lane.labels)) == 1 then
    redis.call('ZADD', key.handlers, int(wall), handler)
  end
end

-- Lanes are ordered by priority first, so their head is not always the oldest: this reaches each in its turn. A
-- score tells since when a run can be bound: of a delayed one that is not when it was made.
local function expire_lanes(handler)
  local lane_names = names_of_lanes(handler)
  lanes_left = lanes_left - #lane_names / 2
  for at = 2, #lane_names, 2 do
    local id = lane_names[at]
    refresh(handler, lane_with(id))
    local heads = redis.call('ZRANGE', key.activeq(id), 0, 9, 'WITHSCORES')
    for i = 1, #heads, 2 do
      local run, since = heads[i], moment_in(tonumber(heads[i + 1]))
      local fields = wall - since > wait_ms and budget > 0 and record(run)
      if fields and not fields.corrupt and not fields.started and fields.place == 'lane' then
        budget = budget - 1
        leave_index(fields)
        event('expired', 'run', run, 'handler', handler)
        if fields.shards then cancel_shards(fields, 'expired') else finish(fields, 'faulted', 'expired') end
      end
    end
  end
end

local looked = 0
for i = 1, ITEM_COUNT do
  if lanes_left <= 0 then break end
  local handler = item(i)
  retire_handler(handler)
  expire_lanes(handler)
  looked = i
end
settle_records()
settle_inboxes()
settle_timers()
settle_histories()
settle_tally()
return {budget <= 0 and 'more' or 'ok', retired, looked < ITEM_COUNT and looked or nil}
