-- Cancel some more of the tasks that a job is for: what waits ends now, what runs is asked to stop.
--
-- ARGV   now_ms     int  =clock   0 = ask Redis
--        nonce      str  =nonce   random part of the fences begun in this call
--        job        str           its id
--        scope      str           what the address of a handler has to begin with: `namespace/` or `namespace/app/`
--        walks      int           1 = the units are apps, whose tasks the filter chooses; 0 = they are ids of tasks
--        conditions str           lib/filter.lua
--        as_of      int           wall ms; tasks that were made later are left alone
--        reason     str           kept with each
--        first      int           which unit the first item is
--        last       int           1 = no unit follows these
--        cpu_us     int           no more tasks once the engine has worked on them for so long
-- ITEM   unit       str
-- REPLY  ok | more ; no_epoch
--        state      str           running | paused | canceled | done
--        unit       int           the first that is not finished
--        waits      int           0; ms before the next call can do something
--        looked     int           at how many tasks
-- REST   match
-- MOVES  created canceled ; waiting_to_run canceled
--        running canceled ; waiting_to_run faulted ; running faulted
-- FLAGS  allow-oom
-- COST   O(tasks), at most 100 and 500 looked at
--!include limits
--!include lib/clock.lua
--!include lib/match.lua
--!include lib/due.lua
--!include lib/cancel.lua
--!include lib/job_tasks.lua
local function cancel_one(task, fields)
  if TERMINAL[fields.state] or fields.cancel then
    progress.count('skipped', task, 'already')
  elseif not fields.corrupt and (tonumber(fields.made) or 0) > as_of then -- guard: what came after the job is not its
    progress.count('skipped', task, 'too_new')
  else
    progress.worked = progress.worked + 1
    if fields.corrupt then
      set_aside(task, nil)
    elseif fields.shards then
      progress.worked = progress.worked + math.min(limits.BATCH_ITEMS, tonumber(fields.next) or 0)
      cancel_shards(fields, reason)
    else
      cancel_run(fields, reason)
    end
    progress.count('done', task)
  end
  return true
end

if progress.read(job) then
  chosen.run(job, first, last, chosen.is_cancelable, cancel_one, false)
  progress.keep(job)
end
settle_due()
settle(limits.BATCH_ITEMS)
return {unfinished and 'more' or 'ok', progress.state, progress.next, progress.waits, progress.looked}
