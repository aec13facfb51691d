-- Find tasks that are over, newest first, in several indexes as if they were one: what handlers did, what failed in apps,
-- or what became of the slots of one trigger.
--
-- All members are ordered by their time and, of one time, by their names, so that a place among them is the same for each
-- index and for every partition: a search goes on behind the place where another ended.
--
-- ARGV   conditions str  which tasks are wanted: lib/filter.lua
--        from_ms   int   none that are older
--        to_ms     int   none that are younger
--        place     str   the member to go on behind, which has the time `to_ms`; empty = with all of that time
--        looks     int   most members looked at in this call
--        most      int   most tasks found in this call
-- ITEM   Searched
--        kind      str   history | pinned | failed | ledger
--        name      str   namespace/app/handler, of `failed` namespace/app, of `ledger` the uid of a trigger
-- REPLY  ok | more ; no_epoch
--        looked   int    how many members were looked at
--        at       int    the time of the last of them, 0 = none
--        member   str    its name
--        found    rows   of each task: its time, its name in the index, its id
-- FLAGS  no-writes
-- COST   O(looks · log items + items · log N)
--!include limits
--!include lib/reading.lua
--!include lib/filter.lua
--!include lib/base36.lua
local filter = task_filter.read(conditions, task_filter.lane)

-- How many members of an index come before a place in this order, and the one at it.
local function rank_behind(index)
  local low = redis.call('ZCOUNT', index, '(' .. int(to_ms), '+inf')
  if place == '' then return low end
  local high = low + redis.call('ZCOUNT', index, int(to_ms), int(to_ms))
  while low < high do
    local middle = math.floor((low + high) / 2)
    if redis.call('ZRANGE', index, middle, middle, 'REV')[1] >= place then low = middle + 1 else high = middle end
  end
  return low
end

-- Takes the next member of an index; false at its end.
local function advance(source)
  source.at = source.at + 2
  if source.at > #source.rows then
    source.rows = redis.call('ZRANGE', source.index, source.rank, source.rank + limits.SEARCH_CHUNK - 1, 'REV', 'WITHSCORES')
    source.rank, source.at = source.rank + limits.SEARCH_CHUNK, 1
  end
  source.member, source.time = source.rows[source.at], tonumber(source.rows[source.at + 1])
  return source.member ~= nil and source.time >= from_ms
end

-- The indexes by their next members, the next of all at the end.
local heads = {}

local function is_before(one, other)
  return one.time > other.time or (one.time == other.time and one.member > other.member)
end

local function insert(source)
  local at = #heads + 1
  while at > 1 and is_before(heads[at - 1], source) do
    heads[at] = heads[at - 1]
    at = at - 1
  end
  heads[at] = source
end

local function index_of(kind, name)
  if kind == 'history' then return key.history(name) end
  if kind == 'pinned' then return key.pinned(name) end
  return kind == 'failed' and key.failed(name) or key.ledger(name)
end

local function open(kind, name)
  local index = index_of(kind, name)
  local source = {index = index, kind = kind, name = name, rows = {}, at = 0, rank = rank_behind(index)}
  if advance(source) then insert(source) end
end

-- The task behind a member: in a ledger, of a slot that was fired or of a run by hand; nil for other entries.
local function task_of_member(source)
  if source.kind ~= 'ledger' then return source.member end
  local word, what = string.match(source.member, '^(%l+) (%S+)')
  if word == 'fired' then return PARTITION .. 'f' .. source.name .. base36(tonumber(what)) end
  return word == 'manual' and what or nil
end

for i = 1, ITEM_COUNT do open(item(i)) end
local matches, looked, time, member = {}, 0, 0, ''
while #heads > 0 and looked < looks and #matches < most do
  local source = heads[#heads]
  heads[#heads] = nil
  looked, time, member = looked + 1, source.time, source.member
  local task = task_of_member(source)
  if task and lets_through(filter, task, source.kind == 'history' or source.kind == 'pinned') then
    matches[#matches + 1] = {int(time), member, task}
  end
  if advance(source) then insert(source) end
end
return {#heads > 0 and 'more' or 'ok', looked, time, member, matches}
