-- Set how long ended tasks of a handler are kept. What is not named stays.
--
-- ARGV   now_ms    int  =clock   0 = ask Redis
-- ITEM   Setting
--        handler   str   namespace/app/handler
--        name      str   done_ms | done_count | done_bytes | failed_ms
--        value     int   -1 = as its namespace says
-- REPLY  ok ; no_epoch
-- FLAGS  allow-oom
-- COST   O(items)
--!include lib/clock.lua
--!include lib/words.lua
for i = 1, ITEM_COUNT do
  local handler, name, value = item(i)
  if value < 0 then
    redis.call('HDEL', key.handler(handler), name)
  else
    redis.call('HSET', key.handler(handler), name, int(value))
  end
end
return {'ok'}
