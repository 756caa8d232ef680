-- ARGV: lock TTL, etag, claim. The time in ms where the lock is ours and nothing has changed, else the state (state.lua
-- follows). The solve waits for the answer: nothing is read that it can do without.
local is_read, name = pcall(etag) -- what cannot be read is named by what follows
if is_read and name == ARGV[2] and redis.call('SET', LOCK, ARGV[3], 'NX', 'PX', LOCK_TTL) then
  return now_ms()
end
if redis.call('TYPE', LOCK).ok == 'string' and redis.call('GET', LOCK) == ARGV[3] then
  redis.call('PEXPIRE', LOCK, LOCK_TTL)
  return now_ms() -- asked before, and the answer was lost: the work begins only now
end
