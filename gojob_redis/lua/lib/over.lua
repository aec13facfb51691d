-- Several indexes of what is over as if they were one, newest first: of the items of the call, as far as `from_ms`, `to_ms`
-- and `place` go. lua/search.lua says what they hold.
--!include limits
--!include lib/words.lua
--!include lib/base36.lua
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

-- looked: how many members were looked at; time, member: the last of them.
local over = {looked = 0, time = 0, member = ''}

-- Takes the next of all members. Returns the task behind it, nil for none, and whether it stands in an index of its handler.
function over.next()
  local source = heads[#heads]
  heads[#heads] = nil
  over.looked, over.time, over.member = over.looked + 1, source.time, source.member
  local task = task_of_member(source)
  if advance(source) then insert(source) end
  return task, source.kind == 'history' or source.kind == 'pinned'
end

function over.has_more() return #heads > 0 end

for i = 1, ITEM_COUNT do open(item(i)) end
