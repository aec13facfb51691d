-- What a run logged: chunks of packed lines, numbered from 0. Those with the first 100 lines are the head, which stays;
-- the others are a ring, whose oldest go first. `sums` counts what is there, and what is not:
--
--   chunks     ever written; the number of the next one
--   lines      ever written, those that are gone included
--   kept       lines that are there
--   bytes      what they take
--   head       chunks of the head: `first` to `head` - 1 are there
--   first      of the head
--   oldest     of the ring: `oldest` to `chunks` - 1 are there
--   by_ring    lines that gave way to newer ones
--   by_budget  lines that gave way to other logs of their app
--   by_gateway lines that a gateway dropped, because they came too fast or the engine was away
--   by_worker  lines that the worker dropped
--
-- `logs` has the runs whose log has chunks, and `log_bytes` what those of an app take together.
--!include limits
--!include lib/words.lua
--!include lib/hash.lua
--!include lib/record.lua
local SUMS = {'chunks', 'lines', 'kept', 'bytes', 'head', 'first', 'oldest', 'by_ring', 'by_budget', 'by_gateway',
  'by_worker'}

-- What is counted of a log, and its app; zeros and nil of a run without one.
local function sums_of(run)
  local facts = read_hash(key.log(run), 'sums', 'app')
  local sums, words = {}, split(facts[1] or '', ' ')
  for at, name in ipairs(SUMS) do
    local word = words[at] or ''
    sums[name] = #word <= 15 and tonumber(string.match(word, '^%d+$')) or 0
  end
  return sums, facts[2] or nil
end

local function write_sums(run, sums, app)
  local words = {}
  for at, name in ipairs(SUMS) do words[at] = int(sums[name]) end
  redis.call('HSET', key.log(run), 'sums', table.concat(words, ' '), 'app', app)
end

local function bytes_of_logs(app)
  return tonumber(read_hash(key.log_bytes, app)[1] or nil) or 0
end

-- Counts what the logs of an app take more; returns what that makes.
local function count_logs(app, more)
  local bytes = bytes_of_logs(app) + more
  if bytes > 0 then
    redis.call('HSET', key.log_bytes, app, int(bytes))
  else
    redis.call('HDEL', key.log_bytes, app)
  end
  return bytes
end

-- Takes a log away, and out of the count of its app; returns what was counted of it, and its app.
local function forget_log(run)
  local sums, app = sums_of(run)
  if not app then return sums end
  redis.call('UNLINK', key.log(run))
  -- equivalent if true: what has no chunks takes nothing and stands nowhere; only the cost differs
  if sums.bytes > 0 then
    redis.call('ZREM', key.logs(app), run)
    count_logs(app, -sums.bytes)
  end
  return sums, app
end

-- Drops the chunks of a log and says so in its place; returns what they took.
local function empty_log(run)
  local sums, app = forget_log(run)
  local bytes = sums.bytes
  sums.by_budget = sums.by_budget + sums.kept
  sums.kept, sums.bytes = 0, 0
  sums.first, sums.head, sums.oldest = sums.chunks, sums.chunks, sums.chunks
  if app then write_sums(run, sums, app) end
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
