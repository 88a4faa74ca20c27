-- Takes a slot for a session, if the project's limits admit one.
--
-- KEYS[1]  the session: a hash of project, owner, opened, expires and ended
-- KEYS[2]  the project's slots: session ids, sorted by when they are free again
-- KEYS[3]  how many sessions the project has opened on this day
-- ARGV     session id, project, owner, now, when the slot is free again, most sessions at the same
--          time, most sessions of a day or '' for any number, and how long keys outlive their use
-- returns  0 and 0 if it has its slot; 1 and the time until one is free; 2 and 0 if the day's
--          sessions are used up
--
-- All times are in milliseconds and stay far below 2^53, up to which Lua's numbers are exact.
local id, project, owner = ARGV[1], ARGV[2], ARGV[3]
local now, expires = tonumber(ARGV[4]), tonumber(ARGV[5])
local most, of_day, memory = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])

-- The same request may arrive twice, when a connection breaks before the first reply.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return { 0, 0 }
end
if of_day and tonumber(redis.call('GET', KEYS[3]) or 0) >= of_day then
  return { 2, 0 }
end
local from = '(' .. ARGV[4]
if redis.call('ZCOUNT', KEYS[2], from, '+inf') >= most then
  local free = redis.call('ZRANGEBYSCORE', KEYS[2], from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return { 1, tonumber(free[2] or now) - now }
end
-- Redis undoes nothing when a command fails. The first one that writes therefore fails where the
-- count is damaged or the memory is full, and no later one does.
redis.call('INCR', KEYS[3])
redis.call('PEXPIRE', KEYS[3], 2 * memory)
redis.call('HSET', KEYS[1], 'project', project, 'owner', owner, 'opened', ARGV[4],
  'expires', ARGV[5], 'ended', '0')
redis.call('PEXPIRE', KEYS[1], math.max(expires - now, 0) + memory)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[4])
redis.call('ZADD', KEYS[2], ARGV[5], id)
local last = tonumber(redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2])
redis.call('PEXPIRE', KEYS[2], math.max(last - now, 0) + memory)
return { 0, 0 }
