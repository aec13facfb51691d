-- Tell the two clocks of a partition.
--
-- ARGV   now_ms   int   0 = ask Redis
-- REPLY  ok | no_epoch ; then wall, steady
-- FLAGS  allow-oom
-- COST   O(1)
--!include lib/clock.lua
return {'ok', wall, steady}
