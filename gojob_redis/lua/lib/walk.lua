-- Goes through the tasks of an app, some a call, from one index to the next.
--
-- What lives first, in the direction in which tasks move: delayed ones, those in their lanes, those with a timer, those
-- that hold a seat. Or what is over, by its end: what failed in the app, then what each handler did, and what is pinned of
-- it. A place is a handler, one of its indexes, and the last entry that was looked at there, joined by \31; empty is the
-- begin of the app, and its end.
--!include limits
--!include lib/words.lua
--!include lib/lane.lua
-- `seats_last` stands in the place of a handler: the seats of the app's sessions come last.
local walker = {seats_last = '~', following = {}}

-- The session after this one, by id. A few that follow are found in one pass, because an app may have thousands.
function walker.session_after(app, session)
  if walker.following[session] then return walker.following[session] end
  local least = {}
  for _, id in ipairs(redis.call('SMEMBERS', key.sessions(app))) do
    if id > session and (#least < limits.CALL_HEADS or id < least[#least]) then
      local at = #least + 1
      while at > 1 and least[at - 1] > id do at = at - 1 end
      table.insert(least, at, id)
      least[limits.CALL_HEADS + 1] = nil
    end
  end
  for at = 2, #least do walker.following[least[at - 1]] = least[at] end
  return least[1]
end

function walker.first_lane_after(handler, lane)
  local names, least = names_of_lanes(handler), nil
  for i = 2, #names, 2 do
    local id = tonumber(names[i])
    if id and id > lane and (not least or id < least) then least = id end
  end
  return least and int(least)
end

function walker.handler_after(app, only, handler)
  if only then return handler == '' and only or nil end
  local from = handler == '' and '-' or '(' .. handler
  return redis.call('ZRANGE', key.app_handlers(app), from, '+', 'BYLEX', 'LIMIT', 0, 1)[1]
end

-- The first index of the handler that follows; of what lives the first seats when none does.
function walker.enter_handler(walk, handler)
  local following = walker.handler_after(walk.app, walk.only, handler)
  if following and walk.is_over then return following, 'history' end
  if following then return following, walker.first_lane_after(following, -1) or 'timers' end
  if not walk.is_over then return walker.seats_last, walker.session_after(walk.app, '') end
  return nil, nil
end

-- The index after this one; nil at the end of the app.
function walker.index_after(walk, handler, index)
  if handler == walker.seats_last then return walker.seats_last, walker.session_after(walk.app, index) end
  if handler == '' and index == '' then return '', walk.is_over and 'failed' or 'due' end
  if handler == '' or index == 'timers' or index == 'pinned' then return walker.enter_handler(walk, handler) end
  if index == 'history' then return handler, 'pinned' end
  return handler, walker.first_lane_after(handler, tonumber(index)) or 'timers'
end

function walker.key_of_index(walk, handler, index)
  if index == 'due' then return key.due(walk.app) end
  if index == 'timers' then return key.deadlineq(handler) end
  if index == 'failed' then return key.failed(walk.app) end
  if index == 'history' then return key.history(handler) end
  if index == 'pinned' then return key.pinned(handler) end
  return key.activeq(index)
end

-- Members of one score are in the order of their bytes; that of Lua's `<` depends on the engine's language.
function walker.is_after(member, other)
  for at = 1, math.min(#member, #other) do
    local byte, other_byte = string.byte(member, at), string.byte(other, at)
    if byte ~= other_byte then return byte > other_byte end
  end
  return #member > #other
end

-- How many entries stand before the one that follows this one, whether this one is still there or not.
function walker.rank_after(index, score, member)
  local low, high = redis.call('ZCOUNT', index, '-inf', '(' .. score), redis.call('ZCOUNT', index, '-inf', score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if walker.is_after(redis.call('ZRANGE', index, middle, middle)[1], member) then high = middle else low = middle + 1 end
  end
  return low
end

-- Looks at the entries of a sorted set after one of them. Returns whether that was all of them, and the last.
function walker.index(walk, index, score, member, visit)
  while walk.has_room() do
    local rank = score and walker.rank_after(index, score, member) or 0
    local rows = redis.call('ZRANGE', index, rank, rank + limits.WALK_PAGE - 1, 'WITHSCORES')
    for i = 1, #rows, 2 do
      if not walk.has_room() or visit(rows[i]) == false then return false, score, member end
      score, member = rows[i + 1], rows[i]
    end
    if #rows < 2 * limits.WALK_PAGE then return true end
  end
  return false, score, member
end

-- A session's seats are looked at in one go: there are at most 1,000. False when not all of them were.
function walker.seats(walk, session, visit)
  for _, seat in ipairs(redis.call('SMEMBERS', key.held(session))) do
    if not walk.has_room_for_work() or visit(string.match(seat, '^[^@]*')) == false then return false end
  end
  return true
end

-- walk: app; only: a handler, or nil; is_over: through what is over; has_room, has_room_for_work.
-- visit: is given the runs; false when it cannot take this one now.
-- Returns the place where the next call goes on, empty at the end of the app.
function walker.app(walk, place, visit)
  local handler, index, score, member = string.match(place, '^([^\31]*)\31([^\31]*)\31([^\31]*)\31(.*)$')
  if not handler then handler, index = walker.index_after(walk, '', '') end
  if score == '' then score, member = nil, nil end
  while index do
    if not walk.has_room() then break end
    if handler == walker.seats_last then
      if not walker.seats(walk, index, visit) then break end
    else
      local is_whole
      is_whole, score, member = walker.index(walk, walker.key_of_index(walk, handler, index), score, member, visit)
      if not is_whole then break end
    end
    handler, index = walker.index_after(walk, handler, index)
    score, member = nil, nil
  end
  if not index then return '' end
  return table.concat({handler, index, score or '', member or ''}, '\31')
end
