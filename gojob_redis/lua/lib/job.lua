-- A job on many tasks or triggers, in this partition: `job:<id>` says how far it is and what it did, and each call that
-- works moves it on in the same script. So whoever calls, and whoever was killed, each thing is taken up once.
--
-- A job has units: the ids it was given, or the apps it goes through. `next` is the first that is not finished, `place`
-- how far it is in that one. A call says from which unit on it knows them.
--!include limits
--!include lib/hash.lua
local progress = {looked = 0, worked = 0, bytes = 0, waits = 0, counts = {}, samples = {}}
do
  -- An engine without this clock (Redis 7) is bounded by the numbers alone.
  local has_clock, clock = pcall(function() return os.clock end)
  progress.clock = has_clock and clock or function() return 0 end
  progress.began = progress.clock()
end

function progress.read(job)
  local stored = read_hash(key.job(job), 'state', 'next', 'place')
  progress.state = stored[1] or 'running'
  progress.next, progress.place = tonumber(stored[2] or nil) or 0, stored[3] or ''
  return progress.state == 'running' -- guard: a job that was paused, canceled or is done does nothing
end

function progress.has_time()
  -- equivalent if false: the clock is read each time; only the cost differs
  if (progress.looked + progress.worked) % limits.WALK_LOOKS > 0 then return true end
  return (progress.clock() - progress.began) * 1e6 < cpu_us
end

function progress.has_room_for_work()
  return progress.worked < limits.BATCH_ITEMS and progress.bytes < limits.BATCH_BYTES
end

function progress.has_room()
  return progress.has_room_for_work() and progress.looked < limits.WALK_ITEMS and progress.has_time()
end

-- What became of one of them: done; or skipped or failed, and why.
function progress.count(outcome, id, why)
  local counts = progress.counts
  counts.matched = (counts.matched or 0) + 1
  counts[outcome] = (counts[outcome] or 0) + 1
  if outcome == 'done' then return end
  counts['why ' .. outcome .. ' ' .. why] = (counts['why ' .. outcome .. ' ' .. why] or 0) + 1
  progress.samples[#progress.samples + 1] = outcome .. ' ' .. why .. ' ' .. id
end

function progress.keep_samples(job)
  if #progress.samples == 0 then return end
  local kept = split(read_hash(key.job(job), 'samples')[1] or '', '\n')
  for _, sample in ipairs(progress.samples) do
    if #kept < limits.JOB_SAMPLES then kept[#kept + 1] = sample end
  end
  redis.call('HSET', key.job(job), 'samples', table.concat(kept, '\n'))
end

-- Goes through the units of this call. over_unit: whether it finished one; when it did not, this call ends there.
-- first: which unit the first item is; last: whether none follows the items.
function progress.units(first, last, over_unit)
  for i = 1, ITEM_COUNT do
    if first + i - 1 == progress.next then
      if not over_unit(item(i)) then break end
      progress.next, progress.place = progress.next + 1, ''
    end
  end
  if last == 1 and progress.next >= first + ITEM_COUNT then progress.state = 'done' end
end

function progress.keep(job)
  for name, count in pairs(progress.counts) do redis.call('HINCRBY', key.job(job), name, count) end
  progress.keep_samples(job)
  redis.call('HSET', key.job(job), 'state', progress.state, 'next', int(progress.next), 'place', progress.place,
    'at', int(wall))
  redis.call('PEXPIRE', key.job(job), limits.JOB_TRACE_MS)
end
