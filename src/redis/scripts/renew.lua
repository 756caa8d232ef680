-- Prolongs the lock. 'held' or 'lost'.
local holder = redis.call('GET', LOCK)
if holder == args.claim then
  redis.call('PEXPIRE', LOCK, args.lock_ttl)
  return 'held'
end
-- A lock that is gone, as after a restart, is taken again unless the work has ended, or another replica has stored a newer
-- token or recorded a failure.
if not holder and version() <= args.version_at_claim and failures() < args.attempt and field('claim') ~= args.claim then
  redis.call('SET', LOCK, args.claim, 'NX', 'PX', args.lock_ttl)
  return 'held'
end
return 'lost'
