-- Triggers: their names, their turns at the audit, what is due, and what hangs on them. Where a trigger stands in the
-- due index is the audit's matter, who knows the rule.
--!include limits

-- Whether a trigger may have an agenda; one with a word of a later release may.
local function may_fire(active)
  return active == '1' or is_later_word(active, {corrupt = true})
end

local function is_active(uid)
  return may_fire(redis.call('HGET', key.trigger(uid), 'active'))
end

local function forget_trigger(app, uid)
  drop_agenda(app, uid)
  redis.call('ZREM', key.audits, uid)
  redis.call('UNLINK', key.trigger(uid), key.trigger_param(uid))
  redis.call('PEXPIRE', key.ledger(uid), limits.LEDGER_MS)
end

function scrub.trigger(uid)
  local facts = redis.call('HMGET', key.trigger(uid), 'app', 'name', 'definition', 'param_size', 'revision')
  local app, name = facts[1], facts[2]
  if not (app and name and facts[3] and tonumber(facts[5] or nil)) then
    event('corrupt', 'uid', uid, 'app', app or '', 'trigger', name or '', 'why', 'the trigger cannot be read')
    return
  end
  local named_uid, card = named(app, name)
  local _, _, own_card = card_of(uid)
  if not named_uid then
    show_card(uid)
    redis.call('ZADD', key.trigger_names(app), 0, name)
    mend('triggers', uid, 'the trigger had no name', app)
  elseif named_uid ~= uid then
    forget_trigger(app, uid)
    mend('trigger', uid, 'another trigger has its name', app)
    return
  elseif string.sub(card .. '\31', 1, #own_card + 1) ~= own_card .. '\31' then -- a later release may say more
    show_card(uid)
    mend('triggers', uid, 'its card said something else', app)
  end
  if redis.call('ZADD', key.audits, 'NX', int(wall), uid) == 1 then
    mend('audits', uid, 'the trigger had no turn at the audit', app)
  end
  if (tonumber(facts[4]) or 0) > limits.INLINE_PARAM_BYTES and not is_there(key.trigger_param(uid)) then
    event('corrupt', 'uid', uid, 'app', app, 'trigger', name, 'why', 'its payload is gone')
  end
end

function scrub.triggers(app, _, cursor)
  return page('HSCAN', key.triggers(app), cursor, function(name, card)
    local uid = string.match(card, CARD_UID)
    local facts = read_hash(key.trigger(uid), 'app', 'name')
    if is_there(key.trigger(uid)) and (facts[1] or app) == app and (facts[2] or name) == name then
      if redis.call('ZADD', key.trigger_names(app), 'NX', 0, name) == 1 then
        mend('trigger_names', uid, 'its app did not list the name', app)
      end
      return
    end
    redis.call('HDEL', key.triggers(app), name)
    mend('triggers', uid, 'the name belongs to no trigger', app)
  end)
end

function scrub.trigger_names(app, _, cursor)
  return page('ZSCAN', key.trigger_names(app), cursor, function(name)
    if redis.call('HEXISTS', key.triggers(app), name) == 1 then return end
    redis.call('ZREM', key.trigger_names(app), name)
    mend('trigger_names', name, 'the app has no such trigger', app)
  end)
end

function scrub.agenda(uid)
  if not is_active(uid) then drop('agenda', uid, key.agenda(uid), 'no active trigger has it') end
end

function scrub.trigger_param(uid)
  local size = redis.call('HGET', key.trigger(uid), 'param_size')
  if (tonumber(size or 0) or math.huge) <= limits.INLINE_PARAM_BYTES then
    drop('trigger_param', uid, key.trigger_param(uid), 'no trigger has it')
  end
end

function scrub.ledger(uid)
  if is_there(key.trigger(uid)) or redis.call('PTTL', key.ledger(uid)) >= 0 then return end
  redis.call('PEXPIRE', key.ledger(uid), limits.LEDGER_MS)
  mend('ledger', uid, 'it would have stayed for ever')
end

function scrub.unplanned(_, _, cursor)
  return page('ZSCAN', key.unplanned, cursor, function(uid)
    if is_active(uid) then return end
    redis.call('ZREM', key.unplanned, uid)
    mend('unplanned', uid, 'no active trigger waits for the planner')
  end)
end

local function belongs_into_due(app, member)
  if is_later_member(member) then return true end
  if #member > 7 then
    local fields = record(member)
    return fields and (fields.corrupt or fields.place == 'due')
  end
  local facts = read_hash(key.trigger(member), 'app', 'active')
  return facts[1] == app and may_fire(facts[2])
end

function scrub.due(app, _, cursor)
  local after = page('ZSCAN', key.due(app), cursor, function(member)
    if belongs_into_due(app, member) then return end
    redis.call('ZREM', key.due(app), member)
    mend('due', member, 'nothing waits for this time', app)
  end)
  local head = redis.call('ZRANGE', key.due(app), 0, 0, 'WITHSCORES')[2]
  local shown = redis.call('ZSCORE', key.due_heads, app)
  if head and shown ~= head and not (shown and tonumber(shown) <= wall + limits.LEFT_MS and tonumber(head) <= wall) then
    mend('due_heads', app, 'it did not show the head of the app', app)
  end
  touch_due(app)
  return after
end

function scrub.due_heads(_, _, cursor)
  return page('ZSCAN', key.due_heads, cursor, function(app)
    if is_there(key.due(app)) then return end
    touch_due(app)
    mend('due_heads', app, 'nothing of this app is due', app)
  end)
end
