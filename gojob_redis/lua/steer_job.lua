-- Tell this partition that a job is paused, goes on, or is canceled: no call that comes later works on against it.
--
-- ARGV   now_ms     int  =clock   0 = ask Redis
--        job        str           its id
--        state      str           running | paused | canceled
--        revision   int           of the job; an older one changes nothing
-- REPLY  ok | already ; no_epoch
--        stands     str           the state it is in now
-- FLAGS  allow-oom
-- COST   O(1)
--!include limits
--!include lib/clock.lua
--!include lib/hash.lua
local stored = read_hash(key.job(job), 'state', 'revision')
local is_older = revision <= (tonumber(stored[2] or nil) or 0)
if is_older then return {'already', stored[1] or 'running'} end -- guard: an older word about a job changes nothing
if stored[1] == 'done' then state = 'done' end -- guard: what is done stays done
redis.call('HSET', key.job(job), 'state', state, 'revision', int(revision))
redis.call('PEXPIRE', key.job(job), limits.JOB_TRACE_MS)
return {'ok', state}
