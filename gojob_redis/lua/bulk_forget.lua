-- Delete some more of the tasks that a job is for, which are over, with everything that hangs on their records.
--
-- What ended less than a minute ago waits until it is so old: whoever repeats a call must find it.
--
-- ARGV   now_ms     int  =clock   0 = ask Redis
--        job        str           its id
--        scope      str           what the address of a handler has to begin with: `namespace/` or `namespace/app/`
--        walks      int           1 = the units are apps, whose tasks the filter chooses; 0 = they are ids of tasks
--        conditions str           lib/filter.lua
--        as_of      int           wall ms; tasks that ended later are left alone
--        pinned     int           1 = also those that somebody wants kept
--        first      int           which unit the first item is
--        last       int           1 = no unit follows these
--        cpu_us     int           no more tasks once the engine has worked on them for so long
-- ITEM   unit       str
-- REPLY  ok ; no_epoch
--        state      str           running | paused | canceled | done
--        unit       int           the first that is not finished
--        waits      int           ms before the next call can do something
--        looked     int           at how many tasks
-- FLAGS  allow-oom
-- COST   O(tasks), shards included, at most 100 and 500 looked at
--!include limits
--!include lib/clock.lua
--!include lib/record.lua
--!include lib/filed.lua
--!include lib/forget.lua
--!include lib/job_tasks.lua
-- False when it is not old enough, or not gone whole.
local function delete_one(task, fields)
  local ended = tonumber(fields.ended) or 0
  if not TERMINAL[fields.state] then
    progress.count('skipped', task, 'not_over')
  elseif ended > as_of then -- guard: what ended after the job began is not deleted by it
    progress.count('skipped', task, 'too_new')
  elseif fields.keep == 'always' and pinned == 0 then -- guard: what somebody wants kept stays, unless that is asked for
    progress.count('skipped', task, 'pinned')
  elseif wall - ended < limits.HISTORY_MIN_MS then -- guard: nothing is deleted before 60 s
    progress.waits = math.min(limits.HISTORY_MIN_MS - (wall - ended), limits.SECOND_MS)
    return false
  else
    local handler = handler_of(fields)
    forget.budget = limits.BATCH_ITEMS - progress.worked
    local is_gone = forget.task(task, app_of(handler), handler, fields)
    progress.worked = limits.BATCH_ITEMS - forget.budget
    if not is_gone then return false end
    unfile(fields, handler)
    records[task] = false
    progress.count('done', task)
  end
  return true
end

if progress.read(job) then
  chosen.run(job, first, last, chosen.is_retriable, delete_one, true)
  progress.keep(job)
end
forget.tell()
settle_tally()
return {'ok', progress.state, progress.next, progress.waits, progress.looked}
