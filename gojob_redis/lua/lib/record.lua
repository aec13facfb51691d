-- The record of a run: one hash of short plain fields; a payload over 64 bytes has a key of its own.
--
-- An unsharded task and its run are one record, `task:<task>`; shard n of a sharded task is `task:<task>.<n>`, made
-- when it is bound, and reads its policies from the task's record. Reads are guarded: a record that cannot be read is
-- `corrupt`, is set aside with an event, and the batch goes on.
local TERMINAL = {run_to_completion = true, faulted = true, canceled = true}
local KNOWN = {created = true, waiting_to_run = true, running = true,
               run_to_completion = true, faulted = true, canceled = true}
local records = {}

local function record(run)
  local known = records[run]
  if known ~= nil then return known end
  local flat = redis.pcall('HGETALL', key.task(run))
  local fields = {run = run}
  if flat.err then
    fields.corrupt = true
  elseif #flat == 0 then
    fields = false
  else
    for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
    if not KNOWN[fields.state] or not fields.lane then fields.corrupt = true end
  end
  records[run] = fields
  return fields
end

-- Writes fields of a record and keeps the copy in this script equal to it.
local function put(run, ...)
  local pairs_of = {...}
  local fields = records[run] or {run = run}
  for i = 1, #pairs_of, 2 do fields[pairs_of[i]] = tostring(pairs_of[i + 1]) end
  records[run] = fields
  redis.call('HSET', key.task(run), ...)
end

local function task_of(run)
  local dot = string.find(run, '.', 1, true)
  if not dot then return run, 0 end
  return string.sub(run, 1, dot - 1), tonumber(string.sub(run, dot + 1))
end

-- The record that holds the policies of a run: its own, or its task's when it is a shard.
local function policy(fields)
  local task = task_of(fields.run)
  if task == fields.run then return fields end
  return record(task) or fields
end

local function is_bound(fields)
  return fields.state == 'waiting_to_run' or fields.state == 'running'
end

local function seat_of(fields)
  return fields.run .. '@' .. (fields.attempt or '0')
end

local function fence_number(fence)
  return tonumber(string.match(fence or '', '^(%d+)')) or 0
end

-- Ownership ends other than by the owner's own report: a fence that only grows, and a lease word no owner has.
local function move_fence(fields)
  put(fields.run, 'fence', int(fence_number(fields.fence) + 1) .. '-')
end
