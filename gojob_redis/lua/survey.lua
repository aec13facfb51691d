-- Tell which workers there are for handlers, by worker group, and what holds these back.
--
-- Groups, their sessions, and sessions with a free seat are counted. What takes to read the sessions is told of as many
-- of each group as the call may read, drawn at random. The groups of an app are those of its sessions; of an app with
-- many sessions, those of some of them, and of some groups of the partition.
--
-- ARGV   sessions   int   most sessions read in this call, those of all groups together
-- ITEM   Surveyed
--        handler    str   namespace/app/handler
--        labels     str   those of one of its lanes
--        attribute  str   and the attribute that it requires, or empty
-- REPLY  ok | more ; no_epoch
--        surveyed   int   how many items were looked at
--        serving    rows  of each of these: ids of the groups that serve it, of those that serve the handler under
--                         other labels, and how many sessions have a free seat for it
--        apps       rows  app, its sessions, 1 if all of its groups are told, and the ids of those
--        groups     rows  id, labels, sessions, those with a free seat, those that were read; of these their seats, taken
--                         seats and free ones, then how many are free, busy, drained, in backoff, silent, leaving, alone
--        offers     rows  group, attribute, how many of the sessions that were read offer it
-- FLAGS  no-writes
-- COST   O(sessions + items · groups)
--!include limits
--!include lib/reading.lua
--!include lib/sound.lua
--!include lib/words.lua
local LEAVING = {left = true, uncounted = true, ending = true}
local ALONE = {solo = true, reserved = true}
local FREE, BUSY, DRAINED, BACKOFF, SILENT, OFF, SOLO = 9, 10, 11, 12, 13, 14, 15
local looked = 0
local serving, apps, groups, offers = {}, {}, {}, {}
local app_rows, group_rows, heard, order = {}, {}, {}, {}

local function read_set(name) return sound(redis.pcall('SMEMBERS', name), {}) end

-- Some members of a set, and how many it has.
local function drawn(name, most)
  local count = sound(redis.pcall('SCARD', name), 0)
  return count > 0 and redis.call('SRANDMEMBER', name, most) or {}, count
end

-- The row of a group, which is counted when it is first met.
local function group_of(id)
  if group_rows[id] then return group_rows[id] end
  local labels = sound(redis.pcall('HGET', key.group(id), 'labels'), '') or ''
  local count = sound(redis.pcall('SCARD', key.group_sessions(id)), 0)
  local free = sound(redis.pcall('ZCARD', key.waiting(id, '')), 0)
  local row = {id, labels, count, free, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
  looked = looked + 1
  group_rows[id] = row
  groups[#groups + 1] = row
  return row
end

-- A group of an app. Its handlers are looked for in its record if that is short, else in the index of its labels.
local function add_group(row, id)
  if not id or row.has[id] then return end
  row.has[id] = true
  row[#row + 1] = id
  local labels, length = group_of(id)[2], sound(redis.pcall('HSTRLEN', key.group(id), 'handlers'), 0)
  -- equivalent if true, false: the same is seen either way; only the cost differs
  if length <= limits.SURVEY_RECORD_BYTES then
    row.short[#row.short + 1] = {id, labels, ' ' .. (sound(redis.pcall('HGET', key.group(id), 'handlers'), '') or '') .. ' '}
  elseif not row.labels[labels] then -- equivalent if true: what is taken is not taken twice; only the cost differs
    row.labels[#row.labels + 1] = labels
    row.labels[labels] = true
  end
end

-- The groups of an app, and where their handlers are looked for.
local function app_of(app)
  if app_rows[app] then return app_rows[app] end
  local sessions, count = drawn(key.sessions(app), limits.SURVEY_SESSIONS)
  local row = {app, count, 1, has = {}, labels = {}, short = {}}
  for _, session in ipairs(sessions) do
    add_group(row, sound(redis.pcall('HGET', key.session(session), 'group'), false))
  end
  looked = looked + #sessions
  if count > #sessions then
    local some, all = drawn(key.groups, limits.SURVEY_SESSIONS)
    for _, id in ipairs(some) do
      if sound(redis.pcall('HGET', key.group(id), 'app'), false) == app then add_group(row, id) end
    end
    looked = looked + #some
    row[3] = all > #some and 0 or 1
  end
  app_rows[app] = row
  apps[#apps + 1] = row
  return row
end

local function take(ids, id)
  if group_of(id)[3] == 0 then return end
  ids[#ids + 1] = id
  if not order[id] then order[#order + 1] = id end
  order[id] = true
end

local function take_served(ids, handler, labels, is_taken)
  local names = read_set(key.groups_of(handler, labels))
  looked = looked + 1
  for _, id in ipairs(names) do
    if not is_taken[id] then take(ids, id) end
    is_taken[id] = true
  end
end

local function free_for(ids, attribute)
  local free = 0
  for _, id in ipairs(ids) do
    local own = attribute == '' and group_rows[id][4] or sound(redis.pcall('ZCARD', key.waiting(id, attribute)), 0)
    free = free + own
  end
  return free
end

local function survey(handler, labels, attribute)
  local fitting, others = {}, {}
  local app = app_of(string.match(handler, '^([^/]+/[^/]+)/') or '')
  local is_taken, name = {}, ' ' .. handler .. ' '
  take_served(fitting, handler, labels, is_taken)
  for _, group in ipairs(app.short) do
    -- equivalent if without 1: what fits is taken already
    if group[2] ~= labels and string.find(group[3], name, 1, true) then
      take(others, group[1])
      is_taken[group[1]] = true
    end
  end
  for _, other in ipairs(app.labels) do
    -- equivalent if true: what fits is taken already; only the cost differs
    if other ~= labels then take_served(others, handler, other, is_taken) end
  end
  serving[#serving + 1] = {table.concat(fitting, ' '), table.concat(others, ' '), free_for(fitting, attribute)}
end

local function is_heard(gateway, since)
  if heard[gateway] == nil then -- equivalent if true: what is remembered is what stands there
    heard[gateway] = (tonumber(redis.call('ZSCORE', key.gateways, gateway) or nil) or 0) >= since
  end
  return heard[gateway]
end

-- What holds a session back, as the place of its count in the row of its group.
local function state_of(off, drained, is_silent, is_full)
  if LEAVING[off] then return OFF end
  if drained then return DRAINED end
  if off == 'silent' or is_silent then return SILENT end
  if ALONE[off] then return SOLO end
  if off then return BACKOFF end
  return is_full and BUSY or FREE
end

local function read_session(row, offered, id, since)
  local facts = sound(redis.pcall('HMGET', key.session(id), 'capacity', 'off', 'drained', 'gateway', 'attributes'), {})
  local capacity, taken = tonumber(facts[1] or nil), sound(redis.pcall('SCARD', key.held(id)), 0)
  if not capacity then return end
  local state = state_of(facts[2], facts[3], not is_heard(facts[4] or '', since), taken >= capacity)
  row[5], row[6], row[7] = row[5] + 1, row[6] + capacity, row[7] + taken
  if state == FREE then row[8] = row[8] + capacity - taken end
  row[state] = row[state] + 1
  for _, attribute in ipairs(split(facts[5] or nil, ',')) do offered[attribute] = (offered[attribute] or 0) + 1 end
end

local function read_group(id, most, since)
  local offered = {}
  for _, session in ipairs((drawn(key.group_sessions(id), most))) do
    read_session(group_rows[id], offered, session, since)
  end
  for attribute, count in pairs(offered) do offers[#offers + 1] = {id, attribute, count} end
end

local surveyed = 0
while surveyed < ITEM_COUNT and (surveyed == 0 or looked < limits.SURVEY_LOOKS) do
  surveyed = surveyed + 1
  survey(item(surveyed))
end
local since = (tonumber(redis.call('HGET', key.meta, 'steady') or nil) or 0) - limits.GATEWAY_SILENT_MS
for at = 1, math.min(#order, sessions) do
  read_group(order[at], math.max(1, math.floor(sessions / #order)), since)
end
for _, row in ipairs(apps) do row.has, row.labels, row.short = nil, nil, nil end
return {surveyed < ITEM_COUNT and 'more' or 'ok', surveyed, serving, apps, groups, offers}
