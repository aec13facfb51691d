-- Which triggers a job would be for, some a call: its dry run. Changes nothing.
--
-- ARGV   now_ms     int  =clock   0 = ask Redis
--        scope      str           what an id has to begin with: `namespace/` or `namespace/app/`
--        walks      int           1 = the unit is an app, whose triggers the filter chooses; 0 = the units are ids
--        conditions str           lib/job_triggers.lua
--        as_of      int           wall ms; triggers that were made later do not count
--        first      int           0
--        last       int           0
--        place      str           where the call before stopped in the app
--        cpu_us     int           no more triggers once the engine has looked at them for so long
-- ITEM   unit       str
-- REPLY  ok ; no_epoch
--        place      str           where the next call goes on; empty = that was all
--        triggers   strs          their ids
-- FLAGS  allow-oom
-- COST   O(triggers looked at), at most 500
--!include limits
--!include lib/clock.lua
--!include lib/job_triggers.lua
local ids = {}

local function list_one(_, _, _, id)
  progress.worked = 0
  ids[#ids + 1] = id
  return true
end

progress.next, progress.place = 0, place
triggers.run(list_one)
settle_due() -- equivalent if deleted: nothing is changed that could be due
return {'ok', progress.place, ids}
