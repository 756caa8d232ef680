-- Takes the lock if it is free and the state is still the one that `etag` names. {'done' or 'changed', state}.
local holder = redis.call('GET', LOCK)
if holder == args.claim then
  redis.call('PEXPIRE', LOCK, args.lock_ttl) -- asked before, and the answer was lost: the work begins only now
  return { 'done', state() }
end
if etag() == args.etag and redis.call('SET', LOCK, args.claim, 'NX', 'PX', args.lock_ttl) then
  return { 'done', state() }
end
return { 'changed', state() }
