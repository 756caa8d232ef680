-- ARGV: lock TTL, claim, version seen at the claim. 1 where the lock is ours, else 0.
local claim, seen = ARGV[2], tonumber(ARGV[3])
local holder = redis.call('GET', LOCK)
if holder == claim then
  redis.call('PEXPIRE', LOCK, LOCK_TTL)
  return 1
end
-- Gone, as after a restart: ours again, unless the work has ended or somebody else's is newer.
if not holder and version() <= seen and redis.call('HGET', META, 'claim') ~= claim then
  redis.call('SET', LOCK, claim, 'NX', 'PX', LOCK_TTL)
  return 1
end
return 0
