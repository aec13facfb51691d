-- Tell the two clocks of a partition.
--
-- ARGV   now_ms   int  =clock   0 = ask Redis
-- REPLY  ok ; no_epoch
--        wall     int
--        steady   int
-- FLAGS  allow-oom
-- COST   O(1)
--!include lib/clock.lua
return {'ok', wall, steady}
