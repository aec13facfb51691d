-- Bind what can be bound in the given groups: the rest of a call that answered `more`, and the repair of a lost wake-up.
--
-- ARGV   now_ms   int  =clock   0 = ask Redis
--        nonce    str  =nonce   random part of the fences begun in this call
--        cursor   str           where to go on looking for groups with both a waiting session and a ready lane; 0 = begin
--        repair   int           1 = a bind made here is a lost wake-up and leaves an event
-- REPLY  ok | more ; no_epoch
--        cursor   str   the next; 0 = all were looked at
--        bound    int   how many were bound
-- MOVES  created waiting_to_run
-- FLAGS  allow-oom
-- COST   O(groups looked at + binds)
--!include limits
--!include lib/clock.lua
--!include lib/match.lua
local page = redis.call('SSCAN', key.groups, cursor, 'COUNT', limits.BATCH_ITEMS)
for _, group in ipairs(page[2]) do
  touch(group, '')
  local offered = {}
  for _, id in ipairs(redis.call('SRANDMEMBER', key.group_sessions(group), limits.GROUP_SAMPLE_SESSIONS)) do
    local attributes = read_hash(key.session(id), 'attributes')[1]
    for _, attribute in ipairs(split(attributes or '', ',')) do offered[attribute] = true end
  end
  for attribute in pairs(offered) do touch(group, attribute) end
end
settle(limits.BATCH_ITEMS)
if bound > 0 and repair == 1 then event('lost_wakeup', 'bound', int(bound)) end
return {unfinished and 'more' or 'ok', page[1], bound}
