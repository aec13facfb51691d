-- Store a trigger whole, new or changed, with the agenda that was computed for it.
--
-- ARGV   now_ms           int  =clock   0 = ask Redis
--        app              str           namespace/app
--        name             str           the trigger's name in its app
--        uid              str           identity, used when the name is new
--        change           str           random id of this request: the same request twice is one change
--        revision         int           the revision the caller has seen; 0 = must be new, -1 = any
--        active           int           1 = fires; 0 = disabled or paused
--        state            str  =active  the word for it: active | disabled | paused
--        paused           int  =0       1 = somebody paused it, perhaps besides disabling it
--        owner            str  =''      who or what made it, as the user says
--        rule             str  =''      its schedule as text, for its card
--        handler          str
--        labels           str           canonical
--        attribute        str
--        shards           int
--        shard_params     bin           netstrings
--        policies         str           those that are not at their default: lib/policies.lua
--        sources          str  =''      who said each: `retries=trigger overlap=namespace`
--        defaults_rev     str  =''      revision of the defaults that went into them
--        param            bin           opaque
--        definition       bin           the whole definition as the user gave it, opaque
--        times            str           planned slots, ms, joined by commas, all after now; or a past one to be made up for
--        planned          int           the last of them, or now when there is none
--        low_at           int           the slot at which to plan again
--        over             int           1 = the schedule has no slot after these
--        most             int           triggers of an app
--        quotas           str  =''      how much else namespaces may have: lib/quotas.lua
-- REPLY  ok | conflict | exists | overtaken | taken | triggers_full | app_lanes_full | handlers_full ; no_epoch
--        uid        str   overtaken: slots of the rule that is to be replaced came due and were never planned; plan them
--                         first, for nobody can once the rule is gone. taken: another trigger has this uid, or had it and
--                         its ledger is kept; choose another
--        revision   int
-- COST   O(agenda)
--!include limits
--!include lib/clock.lua
--!include lib/agenda.lua
--!include lib/card.lua
--!include lib/facts.lua
--!include lib/live.lua
--!include lib/quotas.lua

-- A long payload has a key of its own.
local function keep_param()
  if #param > limits.INLINE_PARAM_BYTES then
    redis.call('HDEL', key.trigger(uid), 'param')
    redis.call('SET', key.trigger_param(uid), param)
  else
    redis.call('HSET', key.trigger(uid), 'param', param)
    redis.call('UNLINK', key.trigger_param(uid))
  end
end

local defined_uid = named(app, name)
local seen = 0
if defined_uid then
  local facts = read_hash(key.trigger(defined_uid), 'revision', 'change', 'active', 'over', 'planned', 'last_slot',
    'changed')
  seen = tonumber(facts[1] or nil) or 0
  if facts[2] == change then return {'ok', defined_uid, seen} end
  if revision == 0 then return {'exists', defined_uid, seen} end
  if revision > 0 and revision ~= seen then return {'conflict', defined_uid, seen} end
  if is_overtaken(facts[3], facts[4], facts[5]) then
    hand_to_planner({app = app, uid = defined_uid, last_slot = facts[6] or nil, changed = facts[7] or nil})
    settle_due()
    return {'overtaken', defined_uid, seen}
  end
elseif revision > 0 then
  return {'conflict', '', 0}
elseif redis.call('EXISTS', key.trigger(uid), key.ledger(uid), key.removed(uid)) > 0 then -- guard: a uid is used once
  return {'taken', '', 0}
elseif redis.call('HLEN', key.triggers(app)) >= most then -- guard: an app has no more triggers than it may
  return {'triggers_full', '', 0}
end
-- The lane is made when the first slot fires; whoever may not have another hears it now.
if active == 1 and not read_hash(key.lanes(handler), labels .. '\31' .. attribute)[1] then
  local full = why_no_lane(app, handler)
  if full then return {full, '', seen} end
end
if defined_uid then
  uid = defined_uid
  note_overtaken(app, uid)
end
drop_agenda(app, uid)
-- A watermark that somebody spoiled would hold every slot back, or none.
local watermark = redis.call('HGET', key.trigger(uid), 'last_slot')
if watermark and (#watermark > 15 or string.find(watermark, '%D')) then
  redis.call('HSET', key.trigger(uid), 'last_slot', int(wall))
end
-- A slot that is past and was decided before is not made up for.
if (tonumber(times) or wall + 1) <= math.min(wall, tonumber(watermark or nil) or 0) then times = '' end
if active == 1 and over == 1 and times == '' and rule ~= 'manual' then state = 'over' end
-- The slots were computed a moment ago, so the first may have come meanwhile: the rule holds from before it.
local since = math.min(wall, (tonumber(string.match(times, '^%d+')) or wall + 1) - 1)
-- equivalent if true: a name that is listed is listed once more; only the cost differs
if not defined_uid then redis.call('ZADD', key.trigger_names(app), 0, name) end
redis.call('HSETNX', key.trigger(uid), 'made', int(wall))
redis.call('HSET', key.trigger(uid), 'app', app, 'name', name, 'change', change, 'revision', seen + 1, 'active', active,
  'handler', handler, 'labels', labels, 'attribute', attribute, 'policies', policies, 'shards', shards,
  'definition', definition, 'planned', planned, 'low_at', low_at, 'over', over, 'changed', int(since),
  'shard_params', shard_params, 'param_size', #param, 'state', state, 'owner', owner, 'rule', rule,
  'paused', paused, 'sources', sources, 'defaults_rev', defaults_rev)
show_card(uid)
facts_anew(uid, int(seen + 1)) -- guard: a definition writes its facts itself
keep_live(uid, policies)
keep_param()
if active == 1 then extend_agenda(app, uid, split(times, ',')) end
redis.call('ZADD', key.audits, 'NX', int(wall), uid)
trim_ledger(uid)
settle_due()
settle_tally()
return {'ok', uid, seen + 1}
