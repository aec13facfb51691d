-- Make the engine hold the given keys and nothing else, for the tests: name and DUMP of each, in turn.
redis.call('FLUSHALL')
for i = 1, #ARGV, 2 do redis.call('RESTORE', ARGV[i], 0, ARGV[i + 1]) end
return #ARGV / 2
