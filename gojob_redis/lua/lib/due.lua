-- The due index: one sorted set per app of what comes due at a wall time, trigger uids and delayed tasks alike, and
-- `due_heads` of the partition, so that apps are served in turn and one app's storm does not hide another's.
--!include lib/state.lua
--!include limits

local function add_due(app, member, at)
  due_added[app] = due_added[app] or {}
  local entries = due_added[app]
  entries[#entries + 1] = at
  entries[#entries + 1] = member
end

-- Writes what was added, and shows each app's head; a head that is new and near is announced.
local function settle_due()
  for app, entries in pairs(due_added) do
    in_pieces('ZADD', key.due(app), entries)
    local head = redis.call('ZRANGE', key.due(app), 0, 0, 'WITHSCORES')[2]
    if entries.has_left then -- it stands at the head, which is over
      local after = redis.call('ZRANGE', key.due(app), '(' .. int(wall), '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')[2]
      head = int(math.min(tonumber(after or wall + limits.LEFT_MS), wall + limits.LEFT_MS))
    end
    local shown = redis.call('ZSCORE', key.due_heads, app)
    if not head then
      redis.call('ZREM', key.due_heads, app)
    elseif head ~= shown then -- equivalent if true: what is shown is written again; only the cost differs
      redis.call('ZADD', key.due_heads, head, app)
      if tonumber(head) < wall + limits.WAKE_AHEAD_MS and (not shown or tonumber(head) < tonumber(shown)) then wake('due') end
    end
  end
  due_added = {}
end

-- An app whose due index changed otherwise: its head is read anew at the settle.
local function touch_due(app, has_left)
  due_added[app] = due_added[app] or {}
  due_added[app].has_left = has_left
end
