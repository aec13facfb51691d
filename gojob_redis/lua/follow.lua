-- Let triggers go by the defaults of policies that hold now, where nobody said otherwise.
--
-- A default is no change of the trigger: its revision stays, and so do its slots, its agenda and its watermark. Policies
-- of planning are read when a slot fires.
--
-- ARGV   now_ms    int  =clock   0 = ask Redis
-- ITEM   Follow
--        uid           str
--        revision      int   of the trigger, as it was read
--        seen          str   revision of the defaults that it went by then
--        policies      str   as they hold now: lib/policies.lua
--        sources       str   who said each
--        defaults_rev  str   revision of the defaults that hold now
-- REPLY  ok ; no_epoch
-- EACH   word   ok | stale | gone
-- COST   O(items)
--!include lib/clock.lua
--!include lib/facts.lua
--!include lib/live.lua
local replies = {'ok'}
for i = 1, ITEM_COUNT do
  local uid, revision, seen, policies, sources, defaults_rev = item(i)
  local facts = read_hash(key.trigger(uid), 'revision', 'defaults_rev')
  if not facts[1] then -- guard: a trigger that was removed stays so
    replies[#replies + 1] = 'gone'
  elseif tonumber(facts[1]) ~= revision -- guard: what somebody said meanwhile is newer than what was read
    or (facts[2] or '') ~= seen then -- guard: defaults that were read earlier do not go over newer ones
    replies[#replies + 1] = 'stale'
  else
    redis.call('HSET', key.trigger(uid), 'policies', policies, 'sources', sources, 'defaults_rev', defaults_rev)
    facts_anew(uid, facts[1]) -- guard: what a slot reads of a trigger is made anew
    keep_live(uid, policies)
    replies[#replies + 1] = 'ok'
  end
end
return replies
