-- Takes back a session whose client secret was never minted, its slot, and its count of the day.
--
-- KEYS[1]  the session, as open.lua writes it
-- ARGV     session id, the beginnings of the keys of slots and of days, and the length of a day
--          in milliseconds
local session = redis.call('HMGET', KEYS[1], 'project', 'opened')
local project, opened = session[1], tonumber(session[2])
if not project or not opened then
  return
end
local day = string.format('%s%.0f:%s', ARGV[3], math.floor(opened / tonumber(ARGV[4])), project)
local of_day = tonumber(redis.call('GET', day) or 0) or 0
redis.call('ZREM', ARGV[2] .. project, ARGV[1])
redis.call('DEL', KEYS[1])
if of_day > 0 then
  redis.call('DECR', day)
end
