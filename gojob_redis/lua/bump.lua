-- Let tasks that wait come earlier or later: at the head of their lane, or with another priority.
--
-- ARGV   now_ms     int  =clock   0 = ask Redis
-- ITEM   BumpItem
--        task       str
--        priority   int           0 to 9; -1 = to the head of its lane, whatever its priority
-- REPLY  ok ; no_epoch
-- EACH   word   ok | already | not_waiting | not_queued | gone | later
-- FLAGS  allow-oom
-- COST   O(items · groups)
--!include limits
--!include lib/clock.lua
--!include lib/record.lua
--!include lib/lane.lua
--!include lib/filed.lua
--!include lib/score.lua
--!include lib/went_back.lua
local WAITS = {lane = true, due = true, timer = true}

-- Its lane may have been shown by this very run, so the head is read anew.
local function move(fields, score)
  local lane = lane_with(fields.lane)
  enqueue(lane, fields.run, score)
  settle_lanes()
  show_head(lane, redis.call('ZRANGE', key.activeq(lane.id), 0, 0, 'WITHSCORES')[2])
  tell_went_back(fields) -- guard: what is moved to the head is found by a job that has passed it
end

local function to_head(fields)
  if fields.place ~= 'lane' then return 'not_queued' end
  local head = redis.call('ZRANGE', key.activeq(fields.lane), 0, 0, 'WITHSCORES')
  if head[1] == fields.run then return 'already' end
  -- A lane that lost the task, and has no other, has no head to go before: the task goes back into it.
  local score = head[1] and tonumber(head[2]) - 1 or score_of(fields)
  put(fields.run, 'score', int(score))
  move(fields, score)
  return 'ok'
end

-- It keeps the moment since when it waits.
local function set_priority(fields, priority)
  if tonumber(fields.priority or DEFAULT_PRIORITY) == priority then return 'already' end
  local score = score_at(priority, moment_in(score_of(fields)))
  put(fields.run, 'priority', int(priority))
  if fields.score then put(fields.run, 'score', int(score)) end
  if fields.place == 'lane' then move(fields, score) end
  return 'ok'
end

local function bump(task, priority)
  local fields = record(task)
  if not fields or (fields.corrupt and not fields.later) then return 'gone' end
  if fields.later then return 'later' end
  if not WAITS[fields.place] then return 'not_waiting' end -- guard: what has a worker, or is over, stands in no lane
  if priority < 0 then return to_head(fields) end
  return set_priority(fields, priority)
end

local replies = {'ok'}
for i = 1, ITEM_COUNT do replies[1 + i] = bump(item(i)) end
settle_records()
return replies
