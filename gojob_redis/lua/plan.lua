-- Continue agendas. Stale plans are refused: the guard is the revision and the last planned slot.
--
-- ARGV   now_ms   int  =clock   0 = ask Redis
-- ITEM   Plan
--        uid         str
--        revision    int
--        after       int   the last planned slot this plan continues
--        times       str   ms, joined by commas
--        planned     int   the last of them, or `after`
--        low_at      int
--        over        int   1 = the schedule has no slot after these
--        gap_first   int   missed slots that are older than the newest missed one: the first,
--        gap_last    int   the last,
--        gap_count   int   and how many; 0 = no gap
-- REPLY  ok ; no_epoch
-- EACH   word   ok | stale | gone
-- COST   O(items · agenda)
--!include lib/clock.lua
--!include lib/agenda.lua
--!include lib/card.lua
local function has_slots(app, uid, times, over)
  return over == 0 or times ~= '' or redis.call('ZSCORE', key.due(app), uid)
end

local replies = {'ok'}
for i = 1, ITEM_COUNT do
  local uid, revision, after, times, planned, low_at, over, gap_first, gap_last, gap_count = item(i)
  local facts = read_hash(key.trigger(uid), 'revision', 'planned', 'app', 'active', 'last_slot',
    'changed', 'state', 'handler')
  if not facts[1] then
    redis.call('ZREM', key.unplanned, uid)
    replies[#replies + 1] = 'gone'
  elseif tonumber(facts[1]) ~= revision
    or tonumber(facts[2]) ~= after -- guard: a plan continues only what it was made for
    or facts[4] ~= '1' then
    if facts[4] ~= '1' then redis.call('ZREM', key.unplanned, uid) end
    replies[#replies + 1] = 'stale'
  elseif gap_count > 0 and redis.call('ZSCORE', key.due(facts[3]), uid) then
    -- Older slots still stand before the gap; the watermark must not pass them. All of them are planned at once.
    hand_to_planner({app = facts[3], uid = uid, last_slot = facts[5] or nil, changed = facts[6] or nil})
    replies[#replies + 1] = 'stale'
  else
    if gap_last > (tonumber(facts[5] or nil) or 0) then
      miss_slots(facts[8] or '?', uid, gap_first, gap_last, gap_count, 'misfire')
      redis.call('HSET', key.trigger(uid), 'last_slot', int(gap_last))
    end
    redis.call('HSET', key.trigger(uid), 'planned', int(planned), 'low_at', int(low_at), 'over', over)
    redis.call('ZREM', key.unplanned, uid)
    extend_agenda(facts[3], uid, split(times, ','))
    trim_ledger(uid)
    if facts[7] == (has_slots(facts[3], uid, times, over) and 'over' or 'active') then
      set_state(uid, facts[7] == 'over' and 'active' or 'over')
    end
    replies[#replies + 1] = 'ok'
  end
end
settle_due()
settle_tally()
return replies
