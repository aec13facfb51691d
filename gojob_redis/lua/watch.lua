-- Say that somebody watches what changes here, and tell what has changed.
--
-- All that is told happened before `now`; who asks from there on misses nothing. `gap` says that this cannot be known
-- since that moment: nobody watched for a while, or so much has changed that the oldest is gone.
--
-- ARGV   now_ms    int  =clock   0 = ask Redis
--        since     int           `now` of the call before, or 0
-- REPLY  ok | gap ; no_epoch
--        now       int           by the engine's own clock, ms
--        upto      int           all that changed before is told; less than `now` when there is more
--        changes   rows          of each call that changed something: runs by lane, `events` of an app
-- FLAGS  allow-oom
-- COST   O(changes)
--!include limits
--!include lib/clock.lua
--!include lib/words.lua
--!include lib/changes.lua
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function ms_of(id)
  return tonumber(string.match(id, '^%d+'))
end

-- equivalent if true: it is written more often
if watched_until - steady < limits.WATCHED_MS / 2 then
  if not is_watched then now = math.max(now, ms_of(leave_change('on', '1'))) end
  redis.call('HSET', key.meta, 'watched', string.format('%.0f', steady + limits.WATCHED_MS))
  redis.call('PEXPIRE', key.changes, limits.WATCHED_MS + limits.CHANGES_KEPT_MS)
end

-- Whether all changes since then are still there.
local function is_known()
  local oldest = redis.call('XRANGE', key.changes, '-', '+', 'COUNT', 1)[1]
  return oldest and (ms_of(oldest[1]) < since or (ms_of(oldest[1]) == since and oldest[2][1] == 'on'))
end

local reply = {is_watched and is_known() and 'ok' or 'gap', now, now, {}}
if reply[1] == 'gap' then return reply end
local entries = redis.call('XRANGE', key.changes, int(since), '(' .. int(now), 'COUNT', limits.CHANGES_READ + 1)
if #entries > limits.CHANGES_READ then
  reply[3] = ms_of(entries[#entries][1])
  if reply[3] == since then return {'gap', now, now, {}} end -- guard: who could never get on begins anew
end
for _, entry in ipairs(entries) do
  -- guard: what nobody watched is not passed over
  if entry[2][1] == 'on' and ms_of(entry[1]) > since then return {'gap', now, now, {}} end
  if ms_of(entry[1]) < reply[3] or reply[3] == now then reply[4][#reply[4] + 1] = entry[2] end
end
return reply
