-- Take tasks in, without a trigger's schedule, and bind what a waiting session can take.
--
-- ARGV   now_ms     int  =clock   0 = ask Redis
--        nonce      str  =nonce   random part of the fences begun in this call
--        reply_to   str  =''      the gateway whose hints come with the reply; empty = none
--        quotas     str  =''      how much namespaces may have: lib/quotas.lua
-- ITEM   Submission
--        task             str           id, made by the caller before its first call, so that repeats carry it
--        handler          str           namespace/app/handler
--        app              str           namespace/app
--        param            bin  =''      opaque
--        once_key         str  =''      digest of an Idempotency-Key, or empty
--        digest           str  =''      digest of the request's body, compared when the key is used again
--        labels           str  =''      required labels, canonical
--        policies         str  =''      those that are not at their default: lib/policies.lua
--        names            str  =''      what the caller finds it by, or empty; then, after a space, the trace that it
--                                       belongs to, if it has one
--        at               int  =0       wall ms of a delayed task, 0 = now
--        shards           int  =1       1 = unsharded
--        shard_params     bin  =''      one netstring a shard, or empty
--        attribute        str  =''      required attribute, or empty
--        unique           int  =0       1 = refused while a task of the app with this key is not over
--        trigger          str  =''      name of the trigger that was run by hand, or empty
--        uid              str  =''      its uid
--        lineage          str  =''      the task this one repeats; or the one whose run submits it, with a dot before its
--                                       shard and its attempt; or empty
-- REPLY  ok | more ; no_epoch
-- EACH   Submitted
--        word   ok | duplicate | other_body | queue_full | lanes_full | app_lanes_full | handlers_full | delayed_full
--                     | key_live | children_full
--        task   str   its id; of `key_live` that of the other task
-- HINTS  reply_to
-- REST   match
-- MOVES  none created ; created waiting_to_run
-- COST   O(items)
--!include limits
--!include lib/clock.lua
--!include lib/match.lua
--!include lib/take_in.lua
--!include lib/quotas.lua

-- The parent of a task, and shard and attempt of it where these submit the task; nil for what there is not.
local function parent_in(lineage)
  if lineage == '' then return nil end
  local parent, by = string.match(lineage, '^([^.]*)%.?(.*)$')
  return parent, by ~= '' and by or nil
end

-- The id an Idempotency-Key stands for already, as the reply of this item; nil when the key is new.
local function known_key(app, once_key, digest)
  local stored = once_key ~= '' and redis.call('GET', key.once(app, once_key))
  if not stored then return nil end
  local id, body = string.match(stored, '^(%S+) (%S*)$')
  return body == digest and 'duplicate' or 'other_body', id
end

-- Triggers stand in the same index; for each that has no slot there may be one delayed task more.
local delayed_of = {}
local function is_delayed_full(app)
  delayed_of[app] = (delayed_of[app] or redis.call('ZCARD', key.due(app)) - redis.call('HLEN', key.triggers(app))) + 1
  return delayed_of[app] > quotas_of(app).delayed
end

-- A task that was taken in before and whose worker did not say that it began.
local function request_sync_of(task)
  local fields = hints_for and record(task)
  -- guard: the worker of a submission that comes twice is asked for its list
  if fields and fields.state == 'waiting_to_run' and fields.session then request_sync(fields.session) end
end

if reply_to ~= '' then hints_for = reply_to end
local replies, work = {'ok'}, 0
for i = 1, ITEM_COUNT do
  local task, handler, app, param, once_key, digest, labels, policies, names, at, shards, shard_params, attribute, unique,
    trigger, uid, lineage = item(i)
  local parent, by = parent_in(lineage)
  local own_key, traceparent = '', ''
  -- equivalent if true: there is nothing in an empty text; only the cost differs
  if names ~= '' then own_key, traceparent = string.match(names, '^(%S*) ?(.*)$') end
  local word, id = known_key(app, once_key, digest)
  local lane, full
  if not word then lane, full = lane_of(handler, labels, attribute, why_no_lane) end
  if word then
    if word == 'duplicate' then request_sync_of(id) end
    replies[#replies + 1] = word
    replies[#replies + 1] = id
  elseif records[task] -- guard: the same submission twice in one call is one task
    or redis.call('EXISTS', key.task(task)) == 1 then -- guard: the same submission is one task
    request_sync_of(task)
    replies[#replies + 1] = 'duplicate'
    replies[#replies + 1] = task
  elseif not lane then
    replies[#replies + 1] = full
    replies[#replies + 1] = ''
  elseif at > wall and is_delayed_full(app) then -- guard: an app has no more delayed tasks than it may
    replies[#replies + 1] = 'delayed_full'
    replies[#replies + 1] = ''
  elseif unique == 1 and live_with_key(own_key, app) then -- guard: while a task lives, there is no other with its key
    replies[#replies + 1] = 'key_live'
    replies[#replies + 1] = live_with_key(own_key, app)
  elseif parent and is_full_of_children(parent) then -- guard: a task has no more children than it may
    replies[#replies + 1] = 'children_full'
    replies[#replies + 1] = ''
  elseif is_full(lane) then
    replies[#replies + 1] = 'queue_full'
    replies[#replies + 1] = ''
  else
    new_task(task, lane, policies_in(policies), param, shards, shard_params, at, trigger ~= '' and trigger or nil,
      parent, own_key ~= '' and own_key or nil, traceparent ~= '' and traceparent or nil, by)
    happened(handler, 'u')
    work = work + shards
    if once_key ~= '' then redis.call('SET', key.once(app, once_key), task .. ' ' .. digest, 'PX', limits.IDEMPOTENCY_MS) end
    note_by_hand(uid, task)
    replies[#replies + 1] = 'ok'
    replies[#replies + 1] = task
  end
end
settle_due()
settle(math.max(1, math.min(limits.BATCH_ITEMS, work)))
if unfinished then replies[1] = 'more' end
if hints_for then replies[#replies + 1] = answers end
return replies
