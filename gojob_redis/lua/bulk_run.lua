-- Run some more of the triggers that a job is for once by hand, whatever their schedules and states.
--
-- ARGV   now_ms     int  =clock   0 = ask Redis
--        nonce      str  =nonce   random part of the fences begun in this call
--        job        str           its id
--        scope      str           what an id has to begin with: `namespace/` or `namespace/app/`
--        walks      int           1 = the units are apps, whose triggers the filter chooses; 0 = they are ids
--        conditions str           lib/job_triggers.lua
--        as_of      int           wall ms; triggers that were made later are left alone
--        first      int           which unit the first item is
--        last       int           1 = no unit follows these
--        cpu_us     int           no more triggers once the engine has worked on them for so long
-- ITEM   unit       str
-- REPLY  ok | more ; no_epoch
--        state      str           running | paused | canceled | done
--        unit       int           the first that is not finished
--        waits      int           0; ms before the next call can do something
--        looked     int           at how many triggers
-- REST   match
-- MOVES  none created ; created waiting_to_run
-- COST   O(triggers), at most 100 and 500 looked at
--!include limits
--!include lib/clock.lua
--!include lib/match.lua
--!include lib/take_in.lua
--!include lib/child_id.lua
--!include lib/facts.lua
--!include lib/job_triggers.lua
local work = 0

local function run_one(_, name, uid, id)
  local stored = read_hash(key.trigger(uid), 'facts', 'revision', 'param', 'shard_params')
  local facts = stored[2] and (facts_in(stored[1], stored[2]) or facts_anew(uid, stored[2]))
  local task, is_there = child_id(uid, 'trigger', name)
  local lane = facts and lane_of(facts.handler, facts.labels, facts.attribute)
  if not facts then
    progress.count('failed', id, 'corrupt')
  elseif is_there then -- guard: a trigger is run once for a job
    progress.count('skipped', id, 'duplicate')
  elseif not lane then
    progress.count('failed', id, 'lanes_full')
  elseif is_full(lane) then
    progress.count('failed', id, 'queue_full')
  else
    local param = stored[3] or ''
    if facts.param_size > limits.INLINE_PARAM_BYTES then param = redis.call('GET', key.trigger_param(uid)) or '' end
    progress.bytes = progress.bytes + #param
    new_task(task, lane, facts.policies, param, facts.shards, facts.shards ~= 1 and stored[4] or '', 0, name)
    note_by_hand(uid, task)
    happened(facts.handler, 'u')
    work = work + facts.shards
    progress.count('done', id)
  end
  return true
end

if progress.read(job) then
  triggers.run(run_one)
  progress.keep(job)
end
settle_due() -- equivalent if deleted: what is made waits for no moment
settle(math.max(1, math.min(limits.BATCH_ITEMS, work)))
return {unfinished and 'more' or 'ok', progress.state, progress.next, progress.waits, progress.looked}
