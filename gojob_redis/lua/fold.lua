-- Write what a replica made of entries of the tally, and take them away.
--
-- The replica read the sums, added what the entries say, and gives the new sums back. Each call moves `turn` in `meta`,
-- and a call whose `turn` is not the one that the replica read changes nothing: so a repeat, or a second replica, adds
-- nothing twice; and a replica that dies has added nothing that is not taken away.
--
-- ARGV   now_ms    int  =clock   0 = ask Redis
--        turn      int           what `meta` said when the replica read
--        upto      str  =''      id of the first entry that is not in the sums; empty = the tally is left as it is
--        entries   int  =0       how many entries are in them
-- ITEM   kind     str        which sum: the functions below
--        one      str        the first part of the key's name
--        two      str        the second part, a field, or what else it needs
--        value    bin        the new value, or what is appended
--        number   int        what is added, or a score
-- REPLY  ok | stale ; no_epoch
--        gap   int   entries that were lost before they were added up
-- FLAGS  allow-oom
-- COST   O(items)
--!include limits
--!include lib/clock.lua
--!include lib/words.lua
--!include lib/event.lua
local minutes = {}
local write = {}

function write.minute(minute, subject, value)
  minutes[minute] = true
  redis.call('HSET', key.minute(minute), subject, value)
end

function write.total(subject, _, value)
  redis.call('SET', key.totals(subject), value, 'PX', limits.STATS_HALVES_MS)
end

function write.tens(subject, day, value)
  redis.call('SET', key.tens(subject, day), value, 'PX', limits.STATS_TENS_MS + limits.DAY_MS)
end

function write.halves(subject, day, value)
  redis.call('SET', key.halves(subject, day), value, 'PX', limits.STATS_HALVES_MS + limits.DAY_MS)
end

function write.slowest(handler, hour, value)
  redis.call('SET', key.slowest(handler, hour), value, 'PX', limits.STATS_SLOWEST_MS + limits.HOUR_MS)
end

-- Minutes of these ten were written since they were added up to ten.
function write.unrolled(ten)
  redis.call('ZADD', key.unrolled, tonumber(ten), ten)
end

function write.rolled(ten)
  redis.call('ZREM', key.unrolled, ten)
end

-- The set of troubled triggers is written only when the last end is of another kind than the one before.
function write.ring(uid, app, ends)
  -- guard: what is left of a removed trigger begins no ring
  if redis.call('EXISTS', key.trigger(uid)) == 0 then return end
  local ring, width = key.ring(uid), limits.RING_BYTES
  local was_bad = redis.call('GETRANGE', ring, -width, -width) == 'f'
  local length = redis.call('APPEND', ring, ends)
  if length >= 2 * limits.RING_ENDS * width then
    redis.call('SET', ring, redis.call('GETRANGE', ring, -limits.RING_ENDS * width, -1))
  end
  local is_bad = string.sub(ends, -width, -width) == 'f'
  -- equivalent if true: what is listed is listed again; only the cost differs
  if is_bad ~= was_bad then redis.call(is_bad and 'SADD' or 'SREM', key.troubled(app), uid) end
end

function write.day(uid, block, field, count)
  -- guard: what is left of a removed trigger begins no days
  if redis.call('EXISTS', key.trigger(uid)) == 0 then return end
  local days = key.days(uid, block)
  -- equivalent if true: it lasts as long again; only the cost differs
  if redis.call('HINCRBY', days, field, count) == count then redis.call('PEXPIRE', days, limits.STATS_DAYS_MS) end
end

function write.failure(app, field, value)
  redis.call('HSET', key.failures(app), field, value)
  redis.call('PEXPIRE', key.failures(app), limits.STATS_HALVES_MS)
end

function write.forgotten(app, field)
  redis.call('HDEL', key.failures(app), field)
end

-- Entries that are gone from the stream without having been in any sum.
local function gap_after(folded)
  local info, facts = redis.call('XINFO', 'STREAM', key.tally), {}
  for i = 1, #info, 2 do facts[info[i]] = info[i + 1] end
  if not facts['entries-added'] then return 0 end
  return math.max(0, facts['entries-added'] - facts.length - folded)
end

-- Takes the entries away; returns how many were lost since the last call.
local function take_away()
  local before = redis.call('HMGET', key.meta, 'fold_entries', 'stats_gap')
  local folded, gap_before = (tonumber(before[1] or nil) or 0) + entries, tonumber(before[2] or nil) or 0
  redis.call('XTRIM', key.tally, 'MINID', upto)
  local gap = gap_after(folded)
  redis.call('HSET', key.meta, 'folded', upto, 'fold_entries', int(folded), 'stats_gap', int(gap))
  if gap > gap_before then event('stats_gap', 'entries', int(gap - gap_before)) end
  return gap - gap_before
end

-- Canceled tasks are told here, so that their end costs nothing more. Of many at once some are told one by one.
function write.canceled(handler, task, reason, ended)
  event('canceled', 'task', task, 'reason', reason, 'ended', int(ended), 'handler', handler)
end

function write.canceled_more(handler, _, _, count)
  event_of(count, 'canceled', 'handler', handler)
end

-- guard: sums that were made of older ones are not written
if (tonumber(redis.call('HGET', key.meta, 'fold_turn') or nil) or 0) ~= turn then return {'stale', 0} end
for i = 1, ITEM_COUNT do
  local kind, one, two, value, number = item(i)
  write[kind](one, two, value, number)
end
for minute in pairs(minutes) do redis.call('PEXPIRE', key.minute(minute), limits.STATS_MINUTES_MS + limits.HOUR_MS) end
local gap = upto ~= '' and take_away() or 0
redis.call('HSET', key.meta, 'fold_turn', int(turn + 1))
return {'ok', gap}
