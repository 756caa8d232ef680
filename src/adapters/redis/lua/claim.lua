-- ARGV: lock TTL, etag, claim. The time in ms where the lock is ours and nothing has changed, else the state.
-- The solve waits for the answer: nothing is read that it can do without.
if etag() == ARGV[2] and redis.call('SET', LOCK, ARGV[3], 'NX', 'PX', LOCK_TTL) then
  return now_ms()
end
if redis.call('GET', LOCK) == ARGV[3] then
  redis.call('PEXPIRE', LOCK, LOCK_TTL)
  return now_ms() -- asked before, and the answer was lost: the work begins only now
end
return state()
