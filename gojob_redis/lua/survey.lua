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

local function add_group(row, id)
  if not id or row.has[id] then return end
  row.has[id] = true
  row[#row + 1] = id
  local labels = group_of(id)[2]
  if not row.labels[labels] then row.labels[#row.labels + 1] = labels end
  row.labels[labels] = true
end

-- The groups of an app, and the different labels they have.
local function app_of(app)
  if app_rows[app] then return app_rows[app] end
  local sessions, count = drawn(key.sessions(app), limits.SURVEY_SESSIONS)
  local row = {app, count, 1, has = {}, labels = {}}
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

local function take(ids, handler, labels)
  local names = read_set(key.groups_of(handler, labels))
  table.sort(names)
  looked = looked + 1
  for _, id in ipairs(names) do
    if group_of(id)[3] > 0 then
      ids[#ids + 1] = id
      if not order[id] then order[#order + 1] = id end
      order[id] = true
    end
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
  take(fitting, handler, labels)
  for _, other in ipairs(app.labels) do
    if other ~= labels then take(others, handler, other) end
  end
  serving[#serving + 1] = {table.concat(fitting, ' '), table.concat(others, ' '), free_for(fitting, attribute)}
end

local function is_heard(gateway, since)
  if heard[gateway] == nil then
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
for _, row in ipairs(apps) do row.has, row.labels = nil, nil end
return {surveyed < ITEM_COUNT and 'more' or 'ok', surveyed, serving, apps, groups, offers}
