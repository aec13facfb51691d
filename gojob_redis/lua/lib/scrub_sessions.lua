-- Sessions, their seats, and the groups in which they meet the lanes.
--!include limits
local ended = {}

-- The runs of a session that is gone go back; the seats go with it. At most 100 a call, the rest by the next.
local function end_held(id)
  for _, seat in ipairs(redis.call('SRANDMEMBER', key.held(id), limits.BATCH_ITEMS)) do
    checks = checks + 1
    local run = string.match(seat, '^(.*)@%d+$')
    local fields = run and record(run)
    if fields and not fields.corrupt and is_bound(fields) and fields.session == id then
      lose(fields, 'scrubbed', false)
    end
    redis.call('SREM', key.held(id), seat)
  end
end

local function drop_session(id, why)
  end_held(id)
  redis.call('ZREM', key.leases, id)
  redis.call('UNLINK', key.session(id))
  sessions[id] = false
  mend('session', id, why)
end

function check.waiting(session, attribute)
  local score = redis.call('ZSCORE', key.waiting(session.group, attribute), session.id)
  if has_room(session) == (score ~= false and score ~= nil) and (not score or tonumber(score) == session.used) then
    return true
  end
  return false
end

local function join(name, id, what, app)
  if redis.call('SADD', name, id) == 1 then mend(what, id, 'it was not named', app) end
end

function scrub.session(id)
  local session = session_of(id)
  local app = redis.call('HGET', key.session(id), 'app')
  if not session or not app then
    drop_session(id, 'it says nothing about its group or gateway')
    return
  end
  if is_later_word(session.off, OFF) then
    event('unknown_word', 'session', id, 'app', app, 'field', 'off', 'word', session.off)
  end
  if not read_hash(key.group(session.group), 'handlers')[1] then
    mend('session', id, 'its group is gone', app)
    local _, whole = end_session(id, 'scrubbed', false, limits.BATCH_ITEMS)
    if whole then ended[#ended + 1] = id end
    return
  end
  if not redis.call('ZSCORE', key.leases, id) then
    redis.call('ZADD', key.leases, int(steady + limits.LEASE_MS), id)
    mend('leases', id, 'nothing watched the lease', app)
  end
  join(key.sessions(app), id, 'sessions', app)
  join(key.group_sessions(session.group), id, 'group_sessions', app)
  local right = check.waiting(session, '')
  for _, attribute in ipairs(session.attributes) do right = check.waiting(session, attribute) and right end
  if right or session.changed then return end
  session.changed, session.listed = true, true
  mend('waiting', id, 'it did not show the free seats', app)
end

function scrub.held(id)
  if is_there(key.session(id)) then return end
  end_held(id)
  mend('held', id, 'the session is gone')
end

local function members_are_sessions(what)
  return function(one, _, cursor)
    return page('SSCAN', key[what](one), cursor, function(id)
      if is_there(key.session(id)) then return end
      redis.call('SREM', key[what](one), id)
      mend(what, id, 'the session is gone')
    end)
  end
end

scrub.sessions, scrub.group_sessions = members_are_sessions('sessions'), members_are_sessions('group_sessions')

function scrub.leases(_, _, cursor)
  return page('ZSCAN', key.leases, cursor, function(id)
    if is_there(key.session(id)) then return end
    end_held(id)
    redis.call('ZREM', key.leases, id)
    mend('leases', id, 'the session is gone')
  end)
end

function scrub.waiting(group, attribute, cursor)
  return page('ZSCAN', key.waiting(group, attribute), cursor, function(id)
    local session = session_of(id)
    if session and session.group == group and offers(session, attribute) and has_room(session) then return end
    redis.call('ZREM', key.waiting(group, attribute), id)
    mend('waiting', id, session and 'the session has no free seat here' or 'the session is gone')
  end)
end

local function show_lanes(handler, labels, group)
  local lane_names = names_of_lanes(handler)
  for at = 1, #lane_names, 2 do
    checks = checks + 1
    local lane = attribute_of(lane_names[at], labels) and lane_with(lane_names[at + 1])
    if lane then
      lane.groups = nil
      check.shown(lane, head_of(lane), group)
    end
  end
end

-- Whether the record of a group says what was announced. One without a sum is of an earlier release.
local function says_what_it_was(facts)
  if not facts[2] then return false end
  return not facts[4] or facts[4] == group_sum(facts[1], facts[2], facts[3])
end

-- A group that is opened or closed piece by piece is right as it is, while somebody goes on with it.
local function is_in_pieces(id, opened, opening)
  if not opened then return false end
  if (tonumber(opening or nil) or 0) + limits.GROUP_OPENING_MS > wall then return true end
  local last = redis.call('SRANDMEMBER', key.group_sessions(id))
  local session = last and session_of(last)
  return session and OVER[session.off] or false
end

function scrub.group(id, _, cursor)
  local facts = redis.call('HMGET', key.group(id), 'app', 'handlers', 'labels', 'sum', 'opened', 'opening')
  if is_in_pieces(id, facts[5], facts[6]) then return end
  local is_sound = says_what_it_was(facts)
  if not is_sound or not is_there(key.group_sessions(id)) then
    drop('group', id, key.group(id), is_sound and 'it has no session' or 'it does not say what was announced', facts[1])
    redis.call('SREM', key.groups, id)
    return
  end
  join(key.groups, id, 'groups', facts[1])
  local names, labels = split(facts[2], ' '), facts[3] or ''
  for at = tonumber(cursor) + 1, #names do
    local handler = names[at]
    if checks >= limit then return tostring(at - 1) end
    checks = checks + 1
    if know_handler(handler, int(wall)) then
      mend('handlers', handler, 'nobody knew the handler', facts[1])
    end
    if redis.call('SADD', key.groups_of(handler, labels), id) == 1 then
      mend('groups_of', id, 'the group was not named', facts[1])
      show_lanes(handler, labels, id)
    end
  end
  if facts[5] then
    redis.call('HDEL', key.group(id), 'opened', 'opening')
    mend('group', id, 'it is open to all its handlers', facts[1])
  end
end

function scrub.groups(_, _, cursor)
  return page('SSCAN', key.groups, cursor, function(id)
    if is_there(key.group(id)) then return end
    redis.call('SREM', key.groups, id)
    mend('groups', id, 'the group is gone')
  end)
end

function scrub.groups_of(handler, labels, cursor)
  return page('SSCAN', key.groups_of(handler, labels), cursor, function(id)
    local facts = read_hash(key.group(id), 'handlers', 'labels')
    local serves = facts[1] and string.find(' ' .. facts[1] .. ' ', ' ' .. handler .. ' ', 1, true)
    if serves and (facts[2] or '') == labels then return end
    redis.call('SREM', key.groups_of(handler, labels), id)
    mend('groups_of', id, 'the group does not serve this handler', app_of(handler))
  end)
end

function scrub.inbox(gateway)
  if redis.call('ZSCORE', key.gateways, gateway) then return end
  drop('inbox', gateway, key.inbox(gateway), 'the gateway is gone')
end
