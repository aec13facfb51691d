-- Find tasks that are not over, where they stand: on the seats of sessions, in lanes, at timers, in due indexes. One index
-- is walked after the other.
--
-- ARGV   conditions str  which tasks are wanted: lib/filter.lua
--        at        str   where to go on in the first index: a score, empty = at its begin
--        member    str   and the member to go on behind
--        looks     int   most members looked at in this call
--        most      int   most tasks found in this call
-- ITEM   Walked
--        kind      str   session | lane | timers | due
--        name      str   of the session, the lane, the handler or the app
-- REPLY  ok | more ; no_epoch
--        looked   int    how many members were looked at
--        walked   int    how many indexes were walked to their ends
--        at       str    where to go on in the next
--        member   str
--        found    strs   ids of tasks, each once
-- FLAGS  no-writes
-- COST   O(looks + items · log N)
--!include limits
--!include lib/reading.lua
--!include lib/filter.lua
local tasks, is_found, looked, passed = {}, {}, 0, 0
local filter = task_filter.read(conditions, task_filter.lane)

local function has_room()
  return looked + passed / limits.SEARCH_PASSES < looks and #tasks < most
end

local function take(run, is_of_handler, is_due_here)
  local task = string.match(run, '^[^.]+')
  looked = looked + 1
  if is_found[task] or (is_due_here and not is_due_here(run)) or not lets_through(filter, task, is_of_handler) then return end
  is_found[task] = true
  tasks[#tasks + 1] = task
end

-- The seats of a session by their names; returns where it stopped, nil at the end.
local function walk_seats(session)
  local seats = redis.pcall('SMEMBERS', key.held(session))
  table.sort(seats) -- of a key that is no set nothing is read
  for _, seat in ipairs(seats) do
    if seat > member then
      if not has_room() then return '', member end
      take(string.match(seat, '^[^@]+'), false)
      member = seat
    end
  end
  return nil
end

local function rank_behind(index)
  -- equivalent if false: the engine takes it for 0, and no score is below; only the cost differs
  if at == '' then return 0 end
  local low = redis.call('ZCOUNT', index, '-inf', '(' .. at)
  local high = low + redis.call('ZCOUNT', index, at, at)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if redis.call('ZRANGE', index, middle, middle)[1] <= member then low = middle + 1 else high = middle end
  end
  return low
end

local function walk(index, is_of_handler, is_passed, is_due_here)
  local rank = rank_behind(index)
  while true do
    local rows = redis.call('ZRANGE', index, rank, rank + limits.SEARCH_INDEXES - 1, 'WITHSCORES')
    for i = 1, #rows, 2 do
      if not has_room() then return at, member end
      if is_passed and is_passed(rows[i]) then passed = passed + 1 else take(rows[i], is_of_handler, is_due_here) end
      member, at = rows[i], rows[i + 1]
    end
    rank = rank + limits.SEARCH_INDEXES
    if #rows < 2 * limits.SEARCH_INDEXES then return nil end
  end
end

-- Triggers stand in the same index as delayed tasks; their names are shorter.
local function is_trigger(name) return #name <= 7 end

-- Timers of runs that are bound or queued stand in the same index; these are found elsewhere.
local function waits_for_timer(run)
  return redis.pcall('HGET', key.task(run), 'place') == 'timer'
end

local function walk_index(kind, name)
  if kind == 'session' then return walk_seats(name) end
  if kind == 'lane' then return walk(key.activeq(name), true) end
  if kind == 'timers' then return walk(key.deadlineq(name), true, nil, waits_for_timer) end
  return walk(key.due(name), false, is_trigger)
end

for i = 1, ITEM_COUNT do
  local stopped_at, stopped_behind = walk_index(item(i))
  if stopped_at then return {'more', looked, i - 1, stopped_at, stopped_behind, tasks} end
  at, member = '', ''
end
return {'ok', looked, ITEM_COUNT, '', '', tasks}
