-- Lets a session hold its slot longer; an earlier moment changes nothing.
--
-- KEYS[1]  the session, as open.lua writes it
-- ARGV     session id, the beginning of the keys of slots, and when the slot is to be free, in
--          milliseconds
local session = redis.call('HMGET', KEYS[1], 'project', 'expires')
local project, expires = session[1], tonumber(session[2])
if not project or not expires or tonumber(ARGV[3]) <= expires then
  return
end
local slots = ARGV[2] .. project
-- An ended session has no slot any more.
if not redis.call('ZSCORE', slots, ARGV[1]) then
  return
end
redis.call('ZADD', slots, ARGV[3], ARGV[1])
redis.call('HSET', KEYS[1], 'expires', ARGV[3])
-- The keys outlive their use by as much as before.
local ttl = redis.call('PTTL', KEYS[1]) + tonumber(ARGV[3]) - expires
redis.call('PEXPIRE', KEYS[1], ttl)
if redis.call('PTTL', slots) < ttl then
  redis.call('PEXPIRE', slots, ttl)
end
