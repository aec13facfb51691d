-- Pause a job, let it go on, cancel it; or close it, when every partition is done with it or was told to stop.
--
-- A script of the control plane: its keys are in one slot, too, and they have no clock and no epoch.
--
-- ARGV   job      str   its id
--        change   str   pause | resume | cancel | close
--        at       int   wall ms
-- REPLY  ok | already | over | gone
--        state    str   running | paused | canceled | done
-- FLAGS  allow-oom
-- COST   O(partitions)
--!include limits
--!include keys
--!include lib/words.lua
local LEADS = {
  pause = {running = 'paused'},
  resume = {paused = 'running'},
  cancel = {running = 'canceled', paused = 'canceled'},
  close = {running = 'done', canceled = 'canceled'},
}
local WANTED = {pause = 'paused', resume = 'running', cancel = 'canceled', close = 'done'}

local stored = redis.call('HMGET', key.job_record(job), 'state', 'ended', 'units')
local state = stored[1]
if not state then return {'gone', ''} end
local to = not stored[2] and LEADS[change][state] -- guard: a job that is closed changes no more
if not to then return {state == WANTED[change] and 'already' or 'over', state} end
if to ~= state then
  redis.call('HSET', key.job_record(job), 'state', to)
  redis.call('HINCRBY', key.job_record(job), 'revision', 1)
end
if change == 'close' then
  redis.call('HSET', key.job_record(job), 'ended', int(at))
  redis.call('PEXPIRE', key.job_record(job), limits.JOB_KEPT_MS)
  redis.call('HDEL', key.live_jobs, job)
  for partition in string.gmatch(stored[3], '(%d+)=') do redis.call('UNLINK', key.job_units(job, partition)) end
end
return {'ok', to}
