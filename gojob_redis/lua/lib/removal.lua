-- What goes with a trigger that is deleted, and what stays of it for 30 days.
--!include limits
--!include lib/agenda.lua
--!include lib/card.lua

-- Days are of a trigger's own zone, so one may lie ahead of this moment.
local function drop_days(uid)
  local last = math.floor(wall / limits.STATS_BLOCK_MS) + 1
  local first = last - math.ceil(limits.STATS_DAYS_MS / limits.STATS_BLOCK_MS) - 1
  local blocks = {}
  for block = first, last do blocks[#blocks + 1] = key.days(uid, int(block)) end
  redis.call('UNLINK', unpack(blocks))
end

local function remove_trigger(app, name, uid, card)
  drop_agenda(app, uid)
  redis.call('HDEL', key.triggers(app), name)
  redis.call('ZREM', key.trigger_names(app), name)
  redis.call('ZREM', key.audits, uid)
  redis.call('UNLINK', key.trigger(uid), key.trigger_param(uid), key.ring(uid))
  redis.call('SREM', key.troubled(app), uid)
  drop_days(uid)
  redis.call('PEXPIRE', key.ledger(uid), limits.LEDGER_MS)
  redis.call('HSET', key.removed(uid), 'app', app, 'name', name, 'at', int(wall), 'card', card)
  redis.call('PEXPIRE', key.removed(uid), limits.LEDGER_MS)
  redis.call('ZADD', key.removals(app), int(wall), uid)
  redis.call('ZREMRANGEBYSCORE', key.removals(app), '-inf', int(wall - limits.LEDGER_MS))
  redis.call('ZREMRANGEBYRANK', key.removals(app), 0, -limits.REMOVED_LISTED - 1)
  redis.call('PEXPIRE', key.removals(app), limits.LEDGER_MS)
end
