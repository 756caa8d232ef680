-- Takes the lock if it is free and the state is still the one that `etag` names. {Redis' clock in ms, the state where the
-- lock was not taken}.
local holder = redis.call('GET', LOCK)
if holder == args.claim then
  redis.call('PEXPIRE', LOCK, args.lock_ttl) -- asked before, and the answer was lost: the work begins only now
  return { now_ms(), false }
end
if etag() == args.etag and redis.call('SET', LOCK, args.claim, 'NX', 'PX', args.lock_ttl) then
  return { now_ms(), false }
end
return { now_ms(), state() }
