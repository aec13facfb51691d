-- Write something small, so that the wait that follows on this connection covers everything written before.
--
-- The engine waits for the last write of the connection itself. A repeat that finds its work done writes nothing, and
-- would be told at once what is true of an older write.
--
-- ARGV   now_ms   int  =clock   0 = ask Redis
-- REPLY  ok ; no_epoch
-- FLAGS  allow-oom
-- COST   O(1)
--!include lib/clock.lua
redis.call('HSET', key.meta, 'touched', string.format('%.0f', wall))
return {'ok'}
