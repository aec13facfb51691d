-- Record a job on many tasks or triggers, with what it is for in each partition. From here on replicas work on it.
--
-- A script of the control plane: its keys are in one slot, too, and they have no clock and no epoch.
--
-- ARGV   job         str   its id
--        namespace   str
--        made_ms     int   wall
--        oldest      str   ids before this one are of jobs that are gone
--        record      bin   what it is to do and for whom, opaque
--        once_key    str   digest of an Idempotency-Key, or empty
--        digest      str   digest of the request's body, compared when the key is used again
-- ITEM   JobUnits
--        partition   int
--        units       str   ids, or apps, joined by spaces
-- REPLY  ok | duplicate | other_body | jobs_full
--        id          str   its own, or that of the job that the key stands for
-- FLAGS  allow-oom
-- COST   O(units)
--!include limits
--!include keys
--!include lib/words.lua
local function known()
  local stored = once_key ~= '' and redis.call('GET', key.job_once(namespace, once_key))
  if not stored then return nil end
  local id, body = string.match(stored, '^(%S+) (%S*)$')
  return body == digest and 'duplicate' or 'other_body', id
end

local function is_full()
  local live = redis.call('HVALS', key.live_jobs)
  local own = 0
  for _, of in ipairs(live) do
    if of == namespace then own = own + 1 end
  end
  return own >= limits.JOBS_AT_ONCE or #live >= limits.JOBS_AT_ONCE_IN_ALL
end

-- The names of jobs whose records are gone, and the oldest of too many, unless they are not over.
local function forget_old()
  redis.call('ZREMRANGEBYLEX', key.jobs(namespace), '-', '(' .. oldest)
  redis.call('ZREMRANGEBYSCORE', key.job_namespaces, '-inf', int(made_ms - limits.JOB_TRACE_MS))
  local surplus = redis.call('ZCARD', key.jobs(namespace)) + 1 - limits.JOBS_KEPT
  if surplus <= 0 then return end
  for _, old in ipairs(redis.call('ZRANGE', key.jobs(namespace), 0, surplus + limits.JOBS_AT_ONCE - 1)) do
    if surplus > 0 and redis.call('HEXISTS', key.live_jobs, old) == 0 then
      redis.call('ZREM', key.jobs(namespace), old)
      redis.call('UNLINK', key.job_record(old))
      surplus = surplus - 1
    end
  end
end

local word, known_job = known()
if word then return {word, known_job} end
if redis.call('EXISTS', key.job_record(job)) == 1 then return {'duplicate', job} end -- guard: a repeated call is one job
if is_full() then return {'jobs_full', ''} end -- guard: a namespace has no more jobs at once than it may
forget_old()
local partitions = {}
for i = 1, ITEM_COUNT do
  local partition, units = item(i)
  local names = split(units, ' ')
  partitions[i] = int(partition) .. '=' .. int(#names)
  in_pieces('RPUSH', key.job_units(job, int(partition)), names)
end
redis.call('HSET', key.job_record(job), 'record', record, 'namespace', namespace, 'state', 'running', 'revision', 0,
  'made', int(made_ms), 'units', table.concat(partitions, ' '))
redis.call('ZADD', key.jobs(namespace), 0, job)
redis.call('ZADD', key.job_namespaces, int(made_ms), namespace)
redis.call('HSET', key.live_jobs, job, namespace)
if once_key ~= '' then
  redis.call('SET', key.job_once(namespace, once_key), job .. ' ' .. digest, 'PX', limits.IDEMPOTENCY_MS)
end
return {'ok', job}
