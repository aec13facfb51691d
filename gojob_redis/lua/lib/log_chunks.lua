-- How a log grows, and what gives way: within the log, and among the logs of an app.
--!include limits
--!include lib/record.lua
--!include lib/log.lua

-- Drops the chunks of a log and says so in its place; returns what they took.
local function empty_log(run)
  local sums, app = log.forget(run)
  local bytes = sums.bytes
  sums.by_budget = sums.by_budget + sums.kept
  sums.kept, sums.bytes = 0, 0
  sums.first, sums.head, sums.oldest = sums.chunks, sums.chunks, sums.chunks
  if app then log.write_sums(run, sums, app) end
  return bytes
end

-- The oldest chunks behind the head give way until the log is no larger than it may be; the newest one stays.
local function make_room(run, sums, most_lines, most_bytes)
  local gone = {}
  while (sums.bytes > most_bytes or sums.kept > most_lines) and sums.oldest < sums.chunks - 1
    and #gone < limits.BATCH_ITEMS do
    local name = int(sums.oldest)
    local chunk = redis.call('HGET', key.log(run), name)
    local lines = chunk and tonumber(string.match(chunk, '^%d+ (%d+) ')) or 0
    gone[#gone + 1] = name
    sums.oldest = sums.oldest + 1
    sums.kept, sums.by_ring = sums.kept - lines, sums.by_ring + lines
    sums.bytes = sums.bytes - (chunk and #chunk + limits.LOG_CHUNK_COST_BYTES or 0)
  end
  in_pieces('HDEL', key.log(run), gone)
end

local function add_chunk(run, sums, lines, text)
  local chunk = int(sums.lines) .. ' ' .. int(lines) .. ' ' .. text
  redis.call('HSET', key.log(run), int(sums.chunks), chunk)
  local is_head = sums.head == sums.chunks and sums.lines < limits.LOG_HEAD_LINES
    and sums.bytes < limits.LOG_HEAD_BYTES -- guard: what stays is bounded
  sums.chunks = sums.chunks + 1
  if is_head then sums.head, sums.oldest = sums.chunks, sums.chunks end
  sums.lines, sums.kept = sums.lines + lines, sums.kept + lines
  sums.bytes = sums.bytes + #chunk + limits.LOG_CHUNK_COST_BYTES
end

-- The logs of an app take too much: those of runs that are over go, the one that grew last the longest ago first. Where
-- none of the oldest is over, one of a run that goes on. What goes on and is passed over comes last from now on.
local function shed_logs(app, over)
  local live, again = {}, {}
  for _, run in ipairs(redis.call('ZRANGE', key.logs(app), 0, limits.LOG_SHED_RUNS - 1)) do
    if over <= 0 then break end
    local state = read_hash(key.task(run), 'state')[1]
    if not state or TERMINAL[state] then
      over = over - empty_log(run)
    else
      live[#live + 1] = run
      again[#again + 1], again[#again + 2] = int(wall), run
    end
  end
  in_pieces('ZADD', key.logs(app), again)
  if #live == limits.LOG_SHED_RUNS or (live[1] and over > 0) then empty_log(live[1]) end
end
