-- Forget the oldest ended tasks of a handler or an app, record and everything that hangs on it together; and fault what
-- has waited in the lanes of a handler longer than the default queue limit.
--
-- Each index of ended tasks is walked for itself: the history of a handler and what is pinned of it, and what failed in
-- an app. A handler may keep its failed tasks for another time than its app: those that are not due are passed over.
--
-- ARGV   now_ms    int  =clock   0 = ask Redis
--        limit     int           most tasks retired in this call
--        wait_ms   int           the default queue limit
-- ITEM   Retained
--        kind      str           handler | app
--        name      str
--        keep_ms   int           how long its ended tasks are kept: of an app the failed ones, of a handler the others
--        keep      int           how many of them are kept
--        look_ms   int           the shortest time that a handler of an app keeps its failed tasks; of a handler keep_ms
--        at        int  =0       how many of the oldest were passed over by the calls before
--        cards_ms  int  =0       of an app: how long it is told who ended workers were; 0 = as usual
-- REPLY  ok | more ; no_epoch
--        retired   int   how many were retired
--        looked    int   how many items were looked at; the others did not fit
-- EACH   place    int   where to go on with it: how many of the oldest were passed over; 0 = at its end
-- MOVES  created faulted ; created canceled
--        waiting_to_run faulted ; waiting_to_run canceled ; running faulted ; running canceled
-- FLAGS  allow-oom
-- COST   O(tasks retired), shards included, and O(lanes), about 250 a call, and O(tasks passed over), 500 a call
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
--!include lib/forget.lua
local retired, lanes_left, looks_left = 0, limits.RETIRE_LANES, limits.RETIRE_LOOKS
forget.budget = limit

-- How long a failed task is kept: its handler may say so.
local kept_ms, own_app = {}, nil
local function failed_ms_of(lane_id, app_ms)
  local lane = lane_id and lane_with(lane_id)
  if not lane then return app_ms end
  if not kept_ms[lane.handler] then -- equivalent if true: it is read once more; only the cost differs
    kept_ms[lane.handler] = tonumber(read_hash(key.handler(lane.handler), 'failed_ms')[1] or nil) or app_ms
  end
  return kept_ms[lane.handler]
end

-- Forgets a task. Nil when it is left alone: it is of a later release, or not due yet. handler: nil where its lane says.
local function retire_task(task, age, keep_ms, is_surplus, handler)
  looks_left = looks_left - 1
  local stored = read_hash(key.task(task), 'shards', 'retired', 'state', 'place', 'lane', 'logged', 'key', 'parent')
  if later_field({state = stored[3], place = stored[4]}) then return nil end
  if not is_surplus and not handler and age < failed_ms_of(stored[5], keep_ms) then return nil end
  local facts = {shards = stored[1], retired = stored[2], logged = stored[6], key = stored[7], parent = stored[8]}
  local is_gone = forget.task(task, own_app, handler or handler_of({lane = stored[5] or ''}), facts)
  if is_gone then retired = retired + 1 end
  return is_gone
end

-- Walks an index of ended tasks from its oldest; returns where to go on, 0 at its end, and the tasks that are gone.
local function walk(index, keep_ms, keep, look_ms, at, handler)
  local surplus = at == 0 and redis.call('ZCARD', index) - keep or 0
  local gone, passed = {}, at
  while forget.budget > 0 and looks_left > 0 do
    local first = passed + #gone
    local oldest = redis.call('ZRANGE', index, first, first + math.min(forget.budget, looks_left) - 1, 'WITHSCORES')
    if #oldest == 0 then return 0, gone end
    for i = 1, #oldest, 2 do
      local age, is_surplus = wall - tonumber(oldest[i + 1]), #gone < surplus
      if age < limits.HISTORY_MIN_MS -- guard: nothing terminal is retired before 60 s
        or (age < look_ms and not is_surplus) then return 0, gone end
      local is_gone = forget.budget > 0 and retire_task(oldest[i], age, keep_ms, is_surplus, handler)
      if is_gone then
        gone[#gone + 1] = oldest[i]
      elseif is_gone == nil then
        passed = passed + 1
      else
        return 0, gone
      end
    end
  end
  return looks_left <= 0 and passed or 0, gone
end

local function retire_handler(handler, keep_ms, keep, at)
  own_app = app_of(handler)
  local passed, gone = walk(key.history(handler), keep_ms, keep, keep_ms, at, handler)
  in_pieces('ZREM', key.history(handler), gone)
  local _, unpinned = walk(key.pinned(handler), math.huge, limits.PINNED_PER_HANDLER, math.huge, 0, handler)
  in_pieces('ZREM', key.pinned(handler), unpinned)
  return passed
end

-- Cards of a day that were kept as long as usual are kept longer.
local function keep_cards(app, cards_ms)
  local today = math.floor(wall / limits.DAY_MS)
  for day = today - 1, today do redis.call('PEXPIRE', key.cards(app, int(day)), int(cards_ms)) end
end

local function retire_app(app, keep_ms, keep, look_ms, at)
  own_app = app
  local passed, gone = walk(key.failed(app), keep_ms, keep, look_ms, at, nil)
  in_pieces('ZREM', key.failed(app), gone)
  return passed
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
      local fields = wall - since > wait_ms and forget.budget > 0 and record(run)
      local made_ms = fields and (tonumber(fields.at) or tonumber(fields.made)) or wall
      if fields and not fields.corrupt and not fields.started and fields.place == 'lane'
        and wall - made_ms > wait_ms then -- guard: what was moved to the head has not waited as long as its place says
        forget.budget = forget.budget - 1
        leave_index(fields)
        event('expired', 'run', run, 'handler', handler)
        if fields.shards then cancel_shards(fields, 'expired') else finish(fields, 'faulted', 'expired') end
      end
    end
  end
end

local replies, looked = {'ok', 0, 0}, 0
for i = 1, ITEM_COUNT do
  if lanes_left <= 0 or looks_left <= 0 then break end
  local kind, name, keep_ms, keep, look_ms, at, cards_ms = item(i)
  if kind == 'app' then
    if cards_ms > 0 then keep_cards(name, cards_ms) end
    replies[3 + i] = retire_app(name, keep_ms, keep, look_ms, at)
  else
    replies[3 + i] = retire_handler(name, keep_ms, keep, at)
    expire_lanes(name)
  end
  looked = i
end
for i = looked + 1, ITEM_COUNT do replies[3 + i] = 0 end
forget.tell()
settle_records()
settle_inboxes()
settle_timers()
settle_filed()
settle_faults()
settle_tally()
if forget.budget <= 0 then replies[1] = 'more' end
replies[2], replies[3] = retired, looked
return replies
