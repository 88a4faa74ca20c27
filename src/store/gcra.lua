-- Gcra::decide of src/domain/limits/rate_limit.rs in one atomic step, with the server's clock. A
-- test compares the two.
--
-- KEYS[1]  one caller's budget: its theoretical arrival time in microseconds since 1970, in digits
-- ARGV     spacing and capacity in microseconds, and what to take: 0 or 1
-- returns  whether the request is allowed (0 or 1), how far the arrival time is ahead afterwards,
--          and the clock, both in microseconds
--
-- All numbers stay far below 2^53, up to which Lua's are exact.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local spacing, capacity, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local ahead = 0
local stored = redis.pcall('GET', KEYS[1])
-- A value of another form or type is not ours; it counts as absent and is overwritten.
if type(stored) == 'string' and string.find(stored, '^%d+$') then
  ahead = math.max(tonumber(stored) - now, 0)
end

local used = math.min(ahead, capacity)
local allowed = capacity - used >= spacing
local taken = allowed and cost * spacing or 0
used = used + taken
if taken > 0 or ahead > capacity then
  -- The key expires when the budget is full again, or a little later, so that rounding never makes
  -- it expire early.
  redis.call('SET', KEYS[1], string.format('%.0f', now + used), 'PX', math.floor(used / 1000) + 1)
end
return { allowed and 1 or 0, used, now }
