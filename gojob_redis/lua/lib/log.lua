-- What a run logged: chunks of packed lines, numbered from 0. Those with the first 100 lines are the head, which stays;
-- the others are a ring, whose oldest go first. `sums` counts what is there, and what is not:
--
--   chunks     ever written; the number of the next one
--   lines      ever written, those that are gone included
--   kept       lines that are there
--   bytes      what they take
--   head       chunks of the head: `first` to `head` - 1 are there
--   first      of the head
--   oldest     of the ring: `oldest` to `chunks` - 1 are there
--   by_ring    lines that gave way to newer ones
--   by_budget  lines that gave way to other logs of their app
--   by_gateway lines that a gateway dropped, because they came too fast or the engine was away
--   by_worker  lines that the worker dropped
--
-- `logs` has the runs whose log has chunks, and `log_bytes` what those of an app take together.
--!include limits
--!include lib/words.lua
--!include lib/hash.lua
local log = {}
log.SUMS = '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$'
log.WRITTEN = '%.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f %.0f'

-- What is counted of a log, and its app; zeros and nil of a run without one, or whose log does not say both.
function log.sums_of(run)
  local facts = read_hash(key.log(run), 'sums', 'app')
  local text = facts[1] and #facts[1] <= limits.LOG_SUMS_BYTES and facts[1] or ''
  local chunks, lines, kept, bytes, head, first, oldest, by_ring, by_budget, by_gateway, by_worker =
    string.match(text, log.SUMS)
  return {
    chunks = tonumber(chunks or 0), lines = tonumber(lines or 0), kept = tonumber(kept or 0),
    bytes = tonumber(bytes or 0), head = tonumber(head or 0), first = tonumber(first or 0),
    oldest = tonumber(oldest or 0), by_ring = tonumber(by_ring or 0), by_budget = tonumber(by_budget or 0),
    by_gateway = tonumber(by_gateway or 0), by_worker = tonumber(by_worker or 0),
  }, facts[1] and facts[2] or nil
end

function log.write_sums(run, sums, app)
  local text = string.format(log.WRITTEN, sums.chunks, sums.lines, sums.kept, sums.bytes, sums.head, sums.first,
    sums.oldest, sums.by_ring, sums.by_budget, sums.by_gateway, sums.by_worker)
  redis.call('HSET', key.log(run), 'sums', text, 'app', app)
end

function log.bytes_of_app(app)
  return tonumber(read_hash(key.log_bytes, app)[1] or nil) or 0
end

-- Counts what the logs of an app take more; returns what that makes.
function log.count(app, more)
  local bytes = log.bytes_of_app(app) + more
  if bytes > 0 then
    redis.call('HSET', key.log_bytes, app, int(bytes))
  else
    redis.call('HDEL', key.log_bytes, app)
  end
  return bytes
end

-- Takes a log away, and out of the count of its app; returns what was counted of it, and its app.
function log.forget(run)
  local sums, app = log.sums_of(run)
  redis.call('UNLINK', key.log(run))
  if not app then return sums end
  -- equivalent if true: what has no chunks takes nothing and stands nowhere; only the cost differs
  if sums.bytes > 0 then
    redis.call('ZREM', key.logs(app), run)
    log.count(app, -sums.bytes)
  end
  return sums, app
end
