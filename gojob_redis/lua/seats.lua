-- Say of some sessions how many seats they have, and how many of them are taken.
--
-- ITEM   Seated
--        session    str
-- REPLY  ok ; no_epoch
-- EACH   Seats
--        word       str   ok | gone
--        capacity   int
--        taken      int
-- FLAGS  no-writes
-- COST   O(items)
--!include lib/reading.lua
local replies = {'ok'}
for i = 1, ITEM_COUNT do
  local id = item(i)
  local capacity = tonumber(redis.call('HGET', key.session(id), 'capacity') or nil)
  replies[#replies + 1] = capacity and 'ok' or 'gone'
  replies[#replies + 1] = capacity or 0
  replies[#replies + 1] = redis.call('SCARD', key.held(id))
end
return replies
