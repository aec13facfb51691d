-- The record of a new task, whoever makes it: `fire` for a slot, `submit` for a caller.
--!include limits
--!include lib/children.lua
--!include lib/record.lua
--!include lib/deadline.lua
--!include lib/due.lua
--!include lib/keyed.lua
--!include lib/policies.lua
--!include lib/score.lua
--!include lib/shard_params.lua

-- Makes it, and puts it into its lane, or where it waits for its time.
-- policies: as `policies_in` reads them; at: wall ms of a delayed task, else 0; what follows it: names, or nil.
-- by: shard and attempt of the parent that submitted it.
local function new_task(task, lane, policies, param, shards, shard_params, at, trigger, parent, own_key, traceparent, by)
  local delayed = at > wall
  local fields = {state = 'created', place = delayed and 'due' or 'lane', lane = lane.id, made = now, trigger = trigger,
    parent = parent, by = by, key = own_key, traceparent = traceparent}
  for name, value in pairs(policies) do
    if not (fields[name] or NUMBERS[name] or TRIGGER_POLICIES[name]) then fields[name] = value end
  end
  if #param > limits.INLINE_PARAM_BYTES then
    redis.call('SET', key.param(task), param)
    fields.param_size = int(#param)
  elseif param ~= '' then
    fields.param = param
  end
  if shards ~= 1 then fields.shards = int(shards) end
  if shard_params ~= '' then
    keep_shard_params(task, shard_params)
    fields.shard_params = '1'
  end
  local queue_limit = tonumber(policies.queue_limit)
  if queue_limit > 0 then fields.expires = int(steady + math.max(at - wall, 0) + queue_limit) end
  if delayed then fields.at = int(at) end
  make(task, fields)
  if own_key then add_key(own_key, app_of(lane.handler), task) end
  if parent then add_child(parent, task) end
  if delayed then
    add_due(app_of(lane.handler), task, at)
    return
  end
  enqueue(lane, task, score_of(fields))
  if fields.expires then watch(fields) end
end
