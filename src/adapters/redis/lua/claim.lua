-- ARGV: lock TTL, etag, claim. The time in ms where the lock is ours and nothing has changed, else the state.
-- The solve waits for the answer: nothing is read that it can do without.
local claim = ARGV[3]
if etag() == ARGV[2] and redis.call('SET', LOCK, claim, 'NX', 'PX', LOCK_TTL) then
  return now_ms()
end
if redis.call('GET', LOCK) == claim then
  redis.call('PEXPIRE', LOCK, LOCK_TTL)
  return now_ms() -- asked before, and the answer was lost: the work begins only now
end
return state()
