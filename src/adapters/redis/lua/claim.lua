-- ARGV: lock TTL, etag, claim. {1, state} where the lock is ours, else {0, state}.
local before = state()
local holder = redis.call('GET', LOCK)
if holder == ARGV[3] then
  redis.call('PEXPIRE', LOCK, LOCK_TTL)
  return { 1, before } -- asked before, and the answer was lost: the work begins only now
end
if holder or before[2] ~= ARGV[2] then
  return { 0, before }
end
redis.call('SET', LOCK, ARGV[3], 'NX', 'PX', LOCK_TTL)
return { 1, before }
