-- Counts the sessions of projects.
--
-- KEYS     for each project its slots and its count of the day, as open.lua writes them
-- ARGV[1]  now, in milliseconds
-- returns  for each project how many slots are taken, and how many sessions were opened today
local counts = {}
for index = 1, #KEYS, 2 do
  counts[index] = redis.call('ZCOUNT', KEYS[index], '(' .. ARGV[1], '+inf')
  counts[index + 1] = tonumber(redis.call('GET', KEYS[index + 1]) or 0)
end
return counts
