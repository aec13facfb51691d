-- Keep what runs log, packed, and their progress. It counts until 10 s after the run's end, because a report may overtake
-- it. A log is bounded for itself, and together with all logs of its app; what is dropped is counted (lib/log.lua).
--
-- ARGV   now_ms   int  =clock   0 = ask Redis
-- ITEM   Note
--        session      str   the one that writes
--        run          str
--        attempt      int
--        kind         str   log | progress
--        text         bin   a packed chunk, or the progress; opaque
--        lines        int  =0   of the chunk; 0 = there is none
--        by_gateway   int  =0   lines that the gateway dropped before it
--        by_worker    int  =0   lines that the worker dropped before it
--        most_lines   int  =0   that are kept of a log
--        most_bytes   int  =0   the same in bytes
--        app_bytes    int  =0   of all logs of the app together
-- REPLY  ok ; no_epoch
-- EACH   word   ok | gone
-- FLAGS  allow-oom
-- COST   O(items)
--!include limits
--!include lib/clock.lua
--!include lib/words.lua
--!include lib/record.lua
--!include lib/log_chunks.lua
local replies = {'ok'}
local apps = {}

-- What the logs of an app take, as this call goes on.
local function app_with(name, most)
  local app = apps[name]
  if not app then
    app = {bytes = log.bytes_of_app(name), most = most, grown = 0, entries = {}}
    apps[name] = app
  end
  return app
end

local function keep(run, name, text, lines, by_gateway, by_worker, most_lines, most_bytes, app_bytes)
  local app, sums = app_with(name, app_bytes), log.sums_of(run)
  local before = sums.bytes
  sums.by_gateway, sums.by_worker = sums.by_gateway + by_gateway, sums.by_worker + by_worker
  if app.bytes + app.grown > app.most * 9 / 8 then -- guard: what is shed more slowly than it comes is not let in
    sums.lines, sums.by_budget = sums.lines + lines, sums.by_budget + lines
  elseif lines > 0 then
    add_chunk(run, sums, lines, text)
    make_room(run, sums, most_lines, most_bytes)
    app.entries[#app.entries + 1], app.entries[#app.entries + 2] = int(wall), run
  end
  log.write_sums(run, sums, name)
  app.grown = app.grown + sums.bytes - before
end

-- Says in the records that there is a log which goes with them.
local function mark(fields)
  if fields.logged then return end -- equivalent if false: it is said once more; only the cost differs
  put(fields.run, 'logged', '1')
  local owner = policy(fields)
  if owner ~= fields and not owner.corrupt then put(owner.run, 'logged', '1') end
end

local function is_over(fields)
  return TERMINAL[fields.state] and (tonumber(fields.ended) or 0) + limits.LOG_LATE_MS < wall
end

for i = 1, ITEM_COUNT do
  local session, run, attempt, kind, text, lines, by_gateway, by_worker, most_lines, most_bytes, app_bytes = item(i)
  local fields = record(run)
  local lane = fields and not fields.corrupt and is_attempt_of(fields, session, attempt) and lane_with(fields.lane)
  if not lane or is_over(fields) then -- guard: what comes long after the end is not kept
    replies[#replies + 1] = 'gone'
  else
    if kind == 'progress' then
      put(run, 'progress', text)
    else
      mark(fields)
      keep(run, app_of(lane.handler), text, lines, by_gateway, by_worker, most_lines, most_bytes, app_bytes)
    end
    replies[#replies + 1] = 'ok'
  end
end
for name, app in pairs(apps) do
  in_pieces('ZADD', key.logs(name), app.entries)
  local bytes = log.count(name, app.grown)
  if bytes > app.most then shed_logs(name, bytes - app.most) end
end
settle_records()
return replies
