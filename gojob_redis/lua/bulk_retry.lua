-- Do the work of some more of the tasks that a job is for once more: each becomes a new task with it as its parent.
--
-- The new id is a function of the job and the parent, so whatever is repeated makes nothing twice.
--
-- ARGV   now_ms     int  =clock   0 = ask Redis
--        nonce      str  =nonce   random part of the fences begun in this call
--        job        str           its id
--        scope      str           what the address of a handler has to begin with: `namespace/` or `namespace/app/`
--        walks      int           1 = the units are apps, whose tasks the filter chooses; 0 = they are ids of tasks
--        conditions str           lib/filter.lua
--        as_of      int           wall ms; tasks that ended later are left alone
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
-- MOVES  none created ; created waiting_to_run
-- COST   O(tasks), at most 100 and 500 looked at
--!include limits
--!include lib/clock.lua
--!include lib/match.lua
--!include lib/card.lua
--!include lib/take_in.lua
--!include lib/child_id.lua
--!include lib/job_tasks.lua
local work, child = 0, {}

-- Of a fired task whose trigger is still that one, else ''.
function child.uid_behind(task, fields)
  if string.sub(task, 3, 3) ~= 'f' or not fields.trigger then return '' end
  local uid, app = string.sub(task, 4, 10), app_of(handler_of(fields))
  return named(app, fields.trigger) == uid and uid or ''
end

function child.policies_of(fields)
  local policies = setmetatable({}, POLICY_DEFAULTS)
  for name in pairs(POLICY_DEFAULTS.__index) do policies[name] = fields[name] end
  return policies
end

-- Copies stay inside the engine, whatever their size.
function child.copy_params(task, fields, id)
  if fields.param_size then
    redis.call('COPY', key.param(task), key.param(id))
    put(id, 'param_size', fields.param_size)
    progress.bytes = progress.bytes + tonumber(fields.param_size)
  end
  if fields.shard_params then
    redis.call('COPY', key.shard_params(task), key.shard_params(id))
    put(id, 'shard_params', '1')
  end
end

local function retry_one(task, fields)
  progress.worked = progress.worked + 1
  local lane = fields.lane and lane_with(fields.lane)
  local id, is_there = child_id(task, 'parent', task)
  if not TERMINAL[fields.state] then
    progress.count('skipped', task, 'not_over')
  elseif (tonumber(fields.ended) or 0) > as_of then -- guard: what ended after the job began is not its
    progress.count('skipped', task, 'too_new')
  elseif is_there then -- guard: a task is made of another once for a job
    progress.count('skipped', task, 'duplicate')
  elseif not lane then
    progress.count('failed', task, 'no_lane')
  elseif is_full_of_children(task) then -- guard: a job makes no more children of a task than it may have
    progress.count('failed', task, 'children_full')
  elseif is_full(lane) then
    progress.count('failed', task, 'queue_full')
  else
    local shards = tonumber(fields.shards) or 1
    new_task(id, lane, child.policies_of(fields), fields.param or '', shards, '', 0, fields.trigger, task, fields.key,
      fields.traceparent)
    child.copy_params(task, fields, id)
    note_by_hand(child.uid_behind(task, fields), id)
    happened(lane.handler, 'u')
    work = work + shards
    progress.count('done', task)
  end
  return true
end

if progress.read(job) then
  chosen.run(job, first, last, chosen.is_retriable, retry_one, true)
  progress.keep(job)
end
settle_due() -- equivalent if deleted: what is made waits for no moment
settle(math.max(1, math.min(limits.BATCH_ITEMS, work)))
return {unfinished and 'more' or 'ok', progress.state, progress.next, progress.waits, progress.looked}
