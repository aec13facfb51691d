-- Delete some more of the triggers that a job is for. Their ledgers stay for 30 days; their tasks go on.
--
-- ARGV   now_ms     int  =clock   0 = ask Redis
--        job        str           its id
--        scope      str           what an id has to begin with: `namespace/` or `namespace/app/`
--        walks      int           1 = the units are apps, whose triggers the filter chooses; 0 = they are ids
--        conditions str           lib/job_triggers.lua
--        as_of      int           wall ms; triggers that were made later are left alone
--        first      int           which unit the first item is
--        last       int           1 = no unit follows these
--        cpu_us     int           no more triggers once the engine has worked on them for so long
-- ITEM   unit       str
-- REPLY  ok ; no_epoch
--        state      str           running | paused | canceled | done
--        unit       int           the first that is not finished
--        waits      int           0; ms before the next call can do something
--        looked     int           at how many triggers
-- FLAGS  allow-oom
-- COST   O(triggers), at most 100 and 500 looked at
--!include limits
--!include lib/clock.lua
--!include lib/removal.lua
--!include lib/job_triggers.lua
local function remove_one(app, name, uid, id, card)
  remove_trigger(app, name, uid, card)
  progress.count('done', id)
  return true
end

if progress.read(job) then
  triggers.run(remove_one)
  progress.keep(job)
end
settle_due()
return {'ok', progress.state, progress.next, progress.waits, progress.looked}
