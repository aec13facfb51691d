-- Look at keys one by one, and mend what the records and the indexes do not agree about. Each mend leaves an event.
--
-- A record is the truth and an index follows it; what hangs on a record that is gone goes too. Every look and its mend
-- are one script, so whatever else happens meanwhile happened before or after it.
--
-- ARGV   now_ms   int  =clock   0 = ask Redis
--        nonce    str  =nonce   random part of the fences begun in this call
--        limit    int           most members looked at in this call
-- ITEM   Look
--        kind      str   of the catalogue; `unknown` for a key that nobody owns
--        kept_as   str   its type by the catalogue
--        one       str   the first part of its name, empty when it has none
--        two       str   the second
--        name      str   the whole name below the prefix
--        cursor    str   where to go on with its members, 0 = at the first
-- REPLY  ok | more ; no_epoch
--        mends   int
-- EACH   cursor   str   where to go on, done when there is no more
-- MOVES  created waiting_to_run ; waiting_to_run created ; running created
--        created faulted ; waiting_to_run faulted ; running faulted
--        waiting_to_run canceled ; running canceled
-- FLAGS  allow-oom
-- COST   O(items + limit)
--!include limits
--!include lib/clock.lua
--!include lib/match.lua
--!include lib/agenda.lua
--!include lib/card.lua
--!include lib/cancel.lua
--!include lib/keyed.lua
--!include lib/children.lua
--!include lib/end_session.lua
--!include lib/log.lua
--!include lib/scrub.lua
--!include lib/scrub_lanes.lua
--!include lib/scrub_runs.lua
--!include lib/scrub_logs.lua
--!include lib/scrub_triggers.lua
--!include lib/scrub_sessions.lua

-- A key of another type is nobody's work: its owner writes it anew from what is left.
local function has_its_type(kind, kept_as, name)
  local stored = redis.call('TYPE', P .. name).ok
  if stored == kept_as then return true end
  if stored ~= 'none' and kind == 'task' then
    scrub.task(string.sub(name, 6))
  elseif stored ~= 'none' then
    drop(kind, name, P .. name, 'it was a ' .. stored)
  end
  return false
end

-- Where to go on with a key; nil when it is done.
local function look_at(kind, kept_as, one, two, name, cursor)
  if checks >= limit then return cursor end
  if kind == 'unknown' then
    event('stray_key', 'key', name)
    return nil
  end
  checks = checks + 1
  if not has_its_type(kind, kept_as, name) or not scrub[kind] then return nil end
  return scrub[kind](one, two, cursor)
end

local replies = {'ok', 0}
for i = 1, ITEM_COUNT do replies[#replies + 1] = look_at(item(i)) or 'done' end
settle_due()
settle(limits.BATCH_ITEMS)
for _, id in ipairs(ended) do forget_session(id) end
if unfinished then replies[1] = 'more' end
replies[2] = mends
return replies
