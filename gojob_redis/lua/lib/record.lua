-- The record of a run: one hash of short plain fields; a payload over 64 bytes has a key of its own.
--
-- An unsharded task and its run are one record, `task:<task>`. Shard n of a sharded task is `task:<task>.<n>`: it is
-- made when it is bound, and reads its policies from the task's record. `settle_records` writes each record once a
-- call; a call that fails before has changed none.
--
-- A record that cannot be read, or that no verb can act on, is `corrupt`: it is set aside with an event, and the batch
-- goes on. A record that is over stays as it is as long as its state can be read. A record with a word of a later release
-- is `corrupt` and `later` besides: nobody changes it, and it is not set aside.
--!include lib/changes.lua
--!include lib/state.lua
--!include lib/lane.lua
--!include lib/score.lua
--!include policies
local TERMINAL = {run_to_completion = true, faulted = true, canceled = true}
local WORDS = {
  state = {created = true, waiting_to_run = true, running = true,
           run_to_completion = true, faulted = true, canceled = true},
  place = {lane = true, due = true, timer = true, session = true, none = true},
}
local NUMBERS = {attempt = true, made = true, score = true, shards = true, next = true, tries = true, at = true,
  expires = true, lost = true, rejects = true, param_size = true, started = true, ended = true, cancel = true,
  swept = true, last_shard = true, run_to_completion = true, faulted = true, canceled = true,
  unaccepted = true, timer = true, snoozes = true, uncounted = true}
local now = int(wall)

-- The name of a policy whose word is of a later release.
local function later_policy(policies)
  for name, words in pairs(POLICY_WORDS) do
    if is_later_word(policies[name], words) then return name end
  end
  return nil
end

-- The name of a field whose word is of a later release.
local function later_field(fields)
  return is_later_word(fields.state, WORDS.state) and 'state' or is_later_word(fields.place, WORDS.place) and 'place'
    or later_policy(fields)
end

-- Whether the verbs can go by what a record says.
local function is_sound(fields)
  if not WORDS.state[fields.state] or not fields.lane then return false end
  if TERMINAL[fields.state] then return true end
  if fields.unsound or not WORDS.place[fields.place] or not lane_with(fields.lane) then return false end
  -- guard: a name that no hint can carry is not handed out
  if fields.trigger and string.find(fields.trigger, '\31', 1, true) then return false end
  -- guard: a trace that no hint can carry is not handed out
  if fields.traceparent and string.find(fields.traceparent, '\31', 1, true) then return false end
  if fields.shards then return true end
  local is_bound = fields.state ~= 'created'
  return not is_bound or (fields.session ~= nil and fields.attempt ~= nil and fields.fence ~= nil)
end

-- Whether a text is a whole number that a script can reckon with.
local wholes = {}
local function is_whole(text)
  local fits = wholes[text]
  if fits == nil then -- equivalent if true: it is looked at once more; only the cost differs
    fits = #text <= 15 and string.find(text, '^%d+$') ~= nil
    wholes[text] = fits
  end
  return fits
end

local function record(run)
  local cached = records[run]
  if cached ~= nil then return cached end
  local flat = redis.pcall('HGETALL', key.task(run))
  local fields = {run = run}
  if flat.err then
    fields.corrupt = true
  elseif #flat == 0 then
    fields = false
  else
    for i = 1, #flat, 2 do
      local name, value = flat[i], flat[i + 1]
      fields[name] = value
      if (NUMBERS[name] or POLICY_DIGITS[name]) and not is_whole(value) then fields.unsound = true end
    end
    fields.later = later_field(fields)
    if fields.later or not is_sound(fields) then fields.corrupt = true end
  end
  records[run] = fields
  return fields
end

-- A record that begins in this call.
local function make(run, fields)
  fields.run = run
  records[run], new_records[run], unwritten[run] = fields, fields, nil
end

-- A record that begins anew in the place of one that nobody can read.
local function replace(run, fields)
  make(run, fields)
  replaced[run] = true
end

-- Changes a record that was read or made before: for this script at once, in the engine when the call settles.
local function put(run, ...)
  local changes, fields = {...}, records[run]
  for i = 1, #changes, 2 do fields[changes[i]] = changes[i + 1] .. '' end
  if new_records[run] then return end -- equivalent if false: what was made is written once more as it is
  local before = unwritten[run]
  if not before then
    unwritten[run] = changes
  else
    for i = 1, #changes do before[#before + 1] = changes[i] end
  end
end

-- Writes each record that was made or changed, once.
local function settle_records()
  if is_watched then tell_runs_changed() end
  for run, fields in pairs(new_records) do
    local args, at = {}, 0
    for name, value in pairs(fields) do
      if name ~= 'run' then
        args[at + 1], args[at + 2] = name, value
        at = at + 2
      end
    end
    -- guard: what nobody can read goes before another takes its place
    -- equivalent if true: what is made anew has no record that could stay
    if replaced[run] then redis.call('UNLINK', key.task(run)) end
    redis.call('HSET', key.task(run), unpack(args))
  end
  for run, changes in pairs(unwritten) do redis.call('HSET', key.task(run), unpack(changes)) end
  new_records, unwritten = {}, {}
end

local function task_of(run)
  local dot = string.find(run, '.', 1, true)
  if not dot then return run, 0 end
  return string.sub(run, 1, dot - 1), tonumber(string.sub(run, dot + 1))
end

-- The record that holds the policies of a run: its own, or its task's when it is a shard.
local function policy(fields)
  local task = task_of(fields.run)
  return record(task) or fields
end

-- A record whose lane nobody knows any more is filed under `?`.
local function handler_of(fields)
  local lane = lane_with(fields.lane)
  return lane and lane.handler or '?'
end

-- Where a run stands in its lane. Its record says so only where that does not follow from its priority and its time.
local function score_of(fields)
  local at = number_in(fields.at) or number_in(fields.made) or wall
  return number_in(fields.score) or score_at(number_in(fields.priority or DEFAULT_PRIORITY), at)
end

local function is_bound(fields)
  return fields.state == 'waiting_to_run' or fields.state == 'running'
end

-- A caller that names a run has to own it. The gateway puts in the session of the socket, and the session stands for
-- its
-- app: only `match` binds a run to a session, and only from a lane that its group serves.
local function is_attempt_of(fields, session, attempt)
  return fields.session == session -- guard: only the session of an attempt speaks of it
    and fields.attempt == int(attempt)
end

local function is_owned(fields, session, fence)
  return fields.session == session -- guard: only the session of a run speaks for it
    and fields.fence == fence -- guard: a former owner is not heard
end

local function seat_of(fields)
  return fields.run .. '@' .. (fields.attempt or '0')
end

local function fence_number(fence)
  return tonumber(string.match(fence or '', '^(%d+)')) or 0
end

-- The owner loses the run other than by its own report: the fence grows, and no owner has the new one.
local function move_fence(fields)
  put(fields.run, 'fence', int(fence_number(fields.fence) + 1) .. '-')
end
