-- Takes tasks away that are over, each with everything that hangs on its record, and tells the statistics.
--!include limits
--!include lib/words.lua
--!include lib/tally.lua
--!include lib/keyed.lua
--!include lib/children.lua
--!include lib/log.lua
local forget = {budget = 0, of_handler = {}}

-- `logged` as the record of its task says it: so what logged nothing costs no look at a log.
function forget.run(run, logged)
  redis.call('UNLINK', key.task(run), key.param(run), key.result(run), key.attempts(run), key.children(run))
  if logged then log.forget(run) end -- equivalent if true: there is nothing to forget; only the cost differs
  forget.budget = forget.budget - 1
end

-- True when the task is gone whole; a sharded one may need several calls. facts: of its record, at least shards, retired,
-- logged, key and parent.
function forget.task(task, app, handler, facts)
  local shards, shard = tonumber(facts.shards or nil), tonumber(facts.retired or nil) or 0
  if shards then
    while shard < shards and forget.budget > 0 do
      forget.run(task .. '.' .. int(shard), facts.logged)
      shard = shard + 1
    end
    if shard < shards then
      redis.call('HSET', key.task(task), 'retired', int(shard))
      return false
    end
    redis.call('UNLINK', key.shard_params(task))
  end
  forget.run(task, facts.logged)
  if facts.key then redis.call('ZREM', key.keyed, keyed_as(facts.key, app, task)) end
  if facts.parent then forget_child(facts.parent, task) end
  forget.of_handler[handler] = (forget.of_handler[handler] or 0) + 1
  return true
end

function forget.tell()
  for handler, count in pairs(forget.of_handler) do happened(handler, 'd' .. int(count)) end
end
