-- Ends a session, if this caller may.
--
-- KEYS[1]  the session, as open.lua writes it
-- ARGV     session id, the beginning of the keys of slots, the owner or '' for an operator, now,
--          and how long a session is remembered after it expired, in milliseconds
-- returns  nothing where there is no such session for this caller; else its project, and whether
--          it had a slot until now (0 or 1)
local session = redis.call('HMGET', KEYS[1], 'project', 'owner', 'expires', 'ended')
local project, owner, expires, ended = session[1], session[2], tonumber(session[3]), session[4]
local now = tonumber(ARGV[4])
if not project or not expires or expires < now - tonumber(ARGV[5]) then
  return nil
end
if ARGV[3] ~= '' and ARGV[3] ~= owner then
  return nil
end
if ended ~= '0' or expires <= now then
  return { project, 0 }
end
-- In this order: a script whose first write frees memory may go on where the memory is full.
redis.call('ZREM', ARGV[2] .. project, ARGV[1])
redis.call('HSET', KEYS[1], 'ended', '1')
return { project, 1 }
