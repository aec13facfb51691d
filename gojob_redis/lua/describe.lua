-- Keep what workers tell of their handlers, and when each version was heard.
--
-- What a digest stands for is told once: whoever names it later only says that it is in use. Both end by themselves
-- when no worker says so for 30 days.
--
-- ARGV   now_ms    int  =clock   0 = ask Redis
--        nonce     str  =nonce   random: two changes of one millisecond are two
-- ITEM   Telling
--        app       str           namespace/app
--        handler   str           namespace/app/handler; empty for what belongs to no single handler
--        digest    str           of the spec
--        spec      bin  =''      what it stands for, where that is told: opaque
-- REPLY  ok ; no_epoch
-- EACH   word   ok | unknown
-- COST   O(items)
--!include limits
--!include lib/clock.lua
--!include lib/words.lua
--!include lib/hash.lua

-- The version that was heard longest ago goes where there are too many.
local function drop_oldest(specs)
  local rows, oldest, oldest_at = redis.call('HGETALL', specs), nil, nil
  for i = 1, #rows, 2 do
    local at = tonumber(string.match(rows[i + 1], '%d+$')) or 0
    if not oldest_at or at < oldest_at then oldest, oldest_at = rows[i], at end
  end
  redis.call('HDEL', specs, oldest)
end

-- Triggers take defaults from the newest version that lives; `told` says that this may be another one now.
local is_another = false

local function hear(handler, digest)
  local specs = key.specs(handler)
  local times = read_hash(specs, digest)[1] or ''
  local first, heard = string.match(times, '^%d+'), tonumber(string.match(times, '%d+$'))
  is_another = is_another or not heard or heard < wall - limits.SPEC_LIVE_MS
  local is_new = redis.call('HSET', specs, digest, (first or int(wall)) .. ' ' .. int(wall)) == 1
  if is_new and redis.call('HLEN', specs) > limits.SPECS_PER_HANDLER then drop_oldest(specs) end
  redis.call('PEXPIRE', specs, limits.SPEC_MS)
end

local replies = {'ok'}
for i = 1, ITEM_COUNT do
  local app, handler, digest, spec = item(i)
  local name = key.spec(app, digest)
  local word = 'ok'
  if spec ~= '' then
    redis.call('SET', name, spec, 'PX', limits.SPEC_MS)
  elseif redis.call('PEXPIRE', name, limits.SPEC_MS) == 0 then
    word = 'unknown'
  end
  if word == 'ok' and handler ~= '' then hear(handler, digest) end
  replies[#replies + 1] = word
end
if is_another then redis.call('HSET', key.meta, 'told', int(wall) .. ' ' .. nonce) end
return replies
