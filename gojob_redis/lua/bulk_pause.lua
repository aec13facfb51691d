-- Pause some more of the triggers that a job is for, or let them go on.
--
-- A paused trigger fires no more; what came due and was not fired is told as skipped. One that goes on is planned anew,
-- from now on.
--
-- ARGV   now_ms     int  =clock   0 = ask Redis
--        job        str           its id
--        scope      str           what an id has to begin with: `namespace/` or `namespace/app/`
--        walks      int           1 = the units are apps, whose triggers the filter chooses; 0 = they are ids
--        conditions str           lib/job_triggers.lua
--        as_of      int           wall ms; triggers that were made later are left alone
--        paused     int           1 = pause, 0 = go on
--        first      int           which unit the first item is
--        last       int           1 = no unit follows these
--        cpu_us     int           no more triggers once the engine has worked on them for so long
-- ITEM   unit       str
-- REPLY  ok ; no_epoch
--        state      str           running | paused | canceled | done
--        unit       int           the first that is not finished
--        waits      int           ms before the next call can do something
--        looked     int           at how many triggers
-- FLAGS  allow-oom
-- COST   O(triggers), at most 100 and 500 looked at
--!include limits
--!include lib/clock.lua
--!include lib/facts.lua
--!include lib/job_triggers.lua
local function change(uid, revision, ...)
  redis.call('HSET', key.trigger(uid), 'revision', revision, 'change', job, 'changed', int(wall), ...)
  show_card(uid)
  facts_anew(uid, int(revision))
end

-- False when the planner has to plan first what came due.
local function pause_one(app, uid, facts)
  if is_overtaken(facts.active, facts.over, facts.planned) then
    hand_to_planner({app = app, uid = uid, last_slot = facts.last_slot, changed = facts.changed})
    progress.waits = limits.LOOK_EVERY_MS
    return false
  end
  note_overtaken(app, uid)
  drop_agenda(app, uid)
  local state = facts.active == '1' and 'paused' or facts.state
  change(uid, facts.revision + 1, 'paused', '1', 'active', '0', 'state', state)
  return true
end

local function let_go_on(app, uid, facts)
  if facts.state == 'disabled' then
    change(uid, facts.revision + 1, 'paused', '0')
  elseif facts.rule == 'manual' then
    change(uid, facts.revision + 1, 'paused', '0', 'active', '1', 'state', 'active')
  else
    change(uid, facts.revision + 1, 'paused', '0', 'active', '1', 'state', 'active', 'over', '0', 'planned', int(wall))
    redis.call('ZADD', key.unplanned, int(wall), uid)
  end
  return true
end

local FIELDS = {'revision', 'active', 'over', 'planned', 'last_slot', 'changed', 'state', 'paused', 'rule'}
local function set_paused(app, _, uid, id)
  local values, facts = read_hash(key.trigger(uid), unpack(FIELDS)), {}
  for at, name in ipairs(FIELDS) do facts[name] = values[at] or nil end
  facts.revision = tonumber(facts.revision) or 0
  if (facts.paused or '0') == int(paused) then
    progress.count('skipped', id, 'already')
    return true
  end
  local is_done = paused == 1 and pause_one(app, uid, facts) or paused == 0 and let_go_on(app, uid, facts)
  if is_done then progress.count('done', id) end
  return is_done
end

if progress.read(job) then
  triggers.run(set_paused)
  progress.keep(job)
end
settle_due()
settle_tally()
return {'ok', progress.state, progress.next, progress.waits, progress.looked}
