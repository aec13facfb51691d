-- Record how attempts ended, give their seats back, and bind what these seats can take.
--
-- ARGV   now_ms     int  =clock   0 = ask Redis
--        nonce      str  =nonce   random part of the fences begun in this call
--        reply_to   str  =''      the gateway whose hints come with the reply; empty = none
-- ITEM   Report
--        session       str
--        run           str
--        attempt       int
--        fence         str
--        outcome       str   ok | error | timeout | canceled | params_invalid
--        started       int   wall ms the start was heard, 0 = it was recorded before
--        value         bin   the result or the error, opaque
--        disposition   str  =''   empty = retry; else retry | final | snooze | uncounted, and after a blank, the delay in ms
--        failure       bin  =''   what failures like this have in common (domain/fingerprint.py), to be counted
-- REPLY  ok | more ; no_epoch
-- EACH   word   accepted | duplicate | fenced | gone
-- HINTS  reply_to
-- REST   match
-- MOVES  waiting_to_run running
--        waiting_to_run run_to_completion ; running run_to_completion
--        waiting_to_run faulted ; running faulted
--        waiting_to_run created ; running created
--        waiting_to_run canceled ; running canceled
--        created waiting_to_run
-- FLAGS  allow-oom
-- COST   O(items)
--!include limits
--!include lib/clock.lua
--!include lib/match.lua
--!include lib/start.lua

-- Where a result or error of this size is kept: in the record, or under a key of its own; nowhere when there is none.
local function kept_value(fields, name, value)
  if #value > limits.INLINE_PARAM_BYTES then
    redis.call('SET', key.result(fields.run), value)
    return name .. '_size', #value
  elseif value ~= '' or fields[name] then
    return name, value
  end
end

-- A task that faulted is found by what its failure has in common with others; a sharded one by that of the shard whose
-- error it shows.
local function keep_failure(fields, failure)
  if failure == '' or fields.state ~= 'faulted' then return end
  local digest, id, shard = string.match(failure, '^[^\29]*'), task_of(fields.run)
  put(fields.run, 'failure', digest)
  local task = record(id)
  if task and task.failed_shard == int(shard) then put(id, 'failure', digest) end
end

-- A report is also the start of a run whose start was not heard before.
local function accept(fields, outcome, disposition, value, failure)
  local started = fields.started or now
  if outcome == 'ok' then
    local reason = fields.cancel and 'cancel_too_late' or ''
    finish(fields, 'run_to_completion', reason, 'started', started, kept_value(fields, 'result', value))
  elseif fields.cancel then
    local reason = fields.cancel_reason or 'canceled'
    finish(fields, 'canceled', reason, 'started', started, kept_value(fields, 'error', value))
  else
    if failure ~= '' then happened(handler_of(fields), 'p' .. task_of(fields.run) .. ' ' .. failure) end
    local word = string.match(disposition, '^%l*')
    -- What its handler put off is no failure.
    if word ~= 'snooze' then
      remember(fields, outcome, #value <= limits.ATTEMPT_ERROR_BYTES and value or '')
    end
    local delay = tonumber(string.match(disposition, '%d+$'))
    fail(fields, outcome, word, delay, 'started', started, kept_value(fields, 'error', value))
    keep_failure(fields, failure)
  end
end

-- Of a record that does not say whose it is the seat tells.
local function is_holder(fields, session, seat)
  if fields.session then return fields.session == session end
  return redis.call('SISMEMBER', key.held(session), seat) == 1
end

if reply_to ~= '' then hints_for = reply_to end
local replies = {'ok'}
for i = 1, ITEM_COUNT do
  local session, run, attempt, fence, outcome, started, value, disposition, failure = item(i)
  local fields = record(run)
  local word
  if not fields then
    word = 'gone'
  elseif fields.corrupt then
    -- guard: only the session of a run sets it aside
    if is_holder(fields, session, run .. '@' .. int(attempt)) then set_aside(run, nil) end
    word = 'fenced'
  elseif not is_owned(fields, session, fence) then
    word = 'fenced'
  elseif not is_bound(fields) then -- guard: a report of a run that is over changes nothing
    word = 'duplicate'
    request_sync(session) -- guard: the worker of a report that comes twice is asked for its list
  else
    if fields.state == 'waiting_to_run' then
      local began = started > 0 and started or wall
      begin_task(fields, handler_of(fields), began)
      fields.started, fields.state = int(began), 'running'
    end
    accept(fields, outcome, disposition, value, failure)
    word = 'accepted'
  end
  give_seat(session, run .. '@' .. int(attempt))
  replies[#replies + 1] = word
end
settle(limits.BATCH_ITEMS)
if unfinished then replies[1] = 'more' end
if hints_for then replies[#replies + 1] = answers end
return replies
