-- Keep log lines and progress of runs, 64 KiB a run: the oldest lines go first. They count until 10 s after the run's
-- end, because a report may overtake them.
--
-- ARGV   now_ms   int  =clock   0 = ask Redis
-- ITEM   Note
--        session   str   the one that writes
--        run       str
--        attempt   int
--        kind      str   log | progress
--        text      bin   opaque
-- REPLY  ok ; no_epoch
-- EACH   word   ok | gone
-- FLAGS  allow-oom
-- COST   O(items)
--!include limits
--!include lib/clock.lua
--!include lib/words.lua
--!include lib/record.lua
local replies = {'ok'}

local function make_room(run, noted)
  while noted > limits.LOG_PER_RUN_BYTES do
    local oldest = redis.call('XRANGE', key.notes(run), '-', '+', 'COUNT', 10)
    local ids = {}
    for _, entry in ipairs(oldest) do
      if noted <= limits.LOG_PER_RUN_BYTES then break end
      ids[#ids + 1] = entry[1]
      noted = noted - #entry[2][6]
    end
    if #ids == 0 then return noted end
    redis.call('XDEL', key.notes(run), unpack(ids))
  end
  return noted
end

local function is_over(fields)
  return TERMINAL[fields.state] and (tonumber(fields.ended) or 0) + limits.LOG_LATE_MS < wall
end

for i = 1, ITEM_COUNT do
  local session, run, attempt, kind, text = item(i)
  local fields = record(run)
  if not fields or fields.corrupt or not is_attempt_of(fields, session, attempt)
    or is_over(fields) then -- guard: what comes long after the end is not kept
    replies[#replies + 1] = 'gone'
  else
    if kind == 'progress' then
      put(run, 'progress', text)
    else
      redis.call('XADD', key.notes(run), '*', 'attempt', int(attempt), 'kind', kind, 'text', text)
      put(run, 'noted', int(make_room(run, (tonumber(fields.noted) or 0) + #text)))
    end
    replies[#replies + 1] = 'ok'
  end
end
settle_records()
return replies
