-- Logs: each hangs on a run, its chunks agree with what was counted, and its app counts it.
--!include limits

-- Whether all chunks are there that the counts tell of, and no others. The record of the counts is two fields.
function log.is_whole(run, sums)
  local chunks = sums.head - sums.first + sums.chunks - sums.oldest
  return redis.call('HLEN', key.log(run)) == chunks + 2
end

function scrub.log(run)
  local sums, app = log.sums_of(run)
  if not record(run) then
    log.forget(run)
    mend('log', run, 'its task is gone', app)
  elseif not app then
    log.forget(run)
    mend('log', run, 'it does not say whose it is')
  elseif not log.is_whole(run, sums) then
    log.forget(run)
    mend('log', run, 'its chunks and its counts do not agree', app)
  elseif sums.bytes > 0 and redis.call('ZADD', key.logs(app), 'NX', int(wall), run) == 1 then
    mend('logs', run, 'its app did not list the log', app)
  end
end

-- What the logs of an app take together is counted anew where one call can do that.
function log.recount(app)
  if redis.call('ZCARD', key.logs(app)) > limits.SCRUB_MEMBERS then return end
  local bytes = 0
  for _, run in ipairs(redis.call('ZRANGE', key.logs(app), 0, -1)) do
    checks = checks + 1
    bytes = bytes + log.sums_of(run).bytes
  end
  local counted = log.bytes_of_app(app)
  if bytes == counted then return end
  log.count(app, bytes - counted)
  mend('log_bytes', app, 'its logs take more or less', app)
end

function scrub.logs(app, _, cursor)
  local after = page('ZSCAN', key.logs(app), cursor, function(run)
    local sums, owner = log.sums_of(run)
    if owner == app and sums.bytes > 0 then return end
    redis.call('ZREM', key.logs(app), run)
    mend('logs', run, 'it has no log', app)
  end)
  if not after then log.recount(app) end
  return after
end

function scrub.log_bytes(_, _, cursor)
  return page('HSCAN', key.log_bytes, cursor, function(app)
    if is_there(key.logs(app)) then return end
    redis.call('HDEL', key.log_bytes, app)
    mend('log_bytes', app, 'it has no logs', app)
  end)
end
