-- Goes through what is not over where it stands, one index after the other, from `at` and `member` on, at most `looks` of it
-- a call. lua/walk.lua says which indexes there are.
--!include limits
-- visit: is given a task and whether it stands in an index of its handler; says whether it is taken. Each is taken once.
local living = {looked = 0, passed = 0, taken = 0, most = math.huge, is_taken = {}}

function living.has_room()
  return living.looked + living.passed / limits.SEARCH_PASSES < looks and living.taken < living.most
end

function living.take(run, is_of_handler, is_due_here)
  local task = string.match(run, '^[^.]+')
  living.looked = living.looked + 1
  if living.is_taken[task] or (is_due_here and not is_due_here(run)) or not living.visit(task, is_of_handler) then return end
  living.is_taken[task] = true
  living.taken = living.taken + 1
end

-- The seats of a session by their names; returns where it stopped, nil at the end.
function living.walk_seats(session)
  local seats = redis.pcall('SMEMBERS', key.held(session))
  table.sort(seats) -- of a key that is no set nothing is read
  for _, seat in ipairs(seats) do
    if seat > member then
      if not living.has_room() then return '', member end
      living.take(string.match(seat, '^[^@]+'), false)
      member = seat
    end
  end
  return nil
end

function living.rank_behind(index)
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

function living.walk(index, is_of_handler, is_passed, is_due_here)
  local rank = living.rank_behind(index)
  while true do
    local rows = redis.call('ZRANGE', index, rank, rank + limits.SEARCH_INDEXES - 1, 'WITHSCORES')
    for i = 1, #rows, 2 do
      if not living.has_room() then return at, member end
      if is_passed and is_passed(rows[i]) then
        living.passed = living.passed + 1
      else
        living.take(rows[i], is_of_handler, is_due_here)
      end
      member, at = rows[i], rows[i + 1]
    end
    rank = rank + limits.SEARCH_INDEXES
    if #rows < 2 * limits.SEARCH_INDEXES then return nil end
  end
end

-- Triggers stand in the same index as delayed tasks; their names are shorter.
function living.is_trigger(name) return #name <= 7 end

-- Timers of runs that are bound or queued stand in the same index; these are found elsewhere.
function living.waits_for_timer(run)
  return redis.pcall('HGET', key.task(run), 'place') == 'timer'
end

function living.walk_index(kind, name)
  if kind == 'session' then return living.walk_seats(name) end
  if kind == 'lane' then return living.walk(key.activeq(name), true) end
  if kind == 'timers' then return living.walk(key.deadlineq(name), true, nil, living.waits_for_timer) end
  return living.walk(key.due(name), false, living.is_trigger)
end

-- Goes through the items of the call. Returns how many were walked to their ends, and where to go on in the next.
function living.walk_items()
  for i = 1, ITEM_COUNT do
    local stopped_at, stopped_behind = living.walk_index(item(i))
    if stopped_at then return i - 1, stopped_at, stopped_behind end
    at, member = '', ''
  end
  return ITEM_COUNT, '', ''
end
