-- ARGV: lock TTL, etag, claim. The time in ms where the lock is ours and nothing has changed, else the state (state.lua
-- follows). The solve waits for the answer: nothing is read that it can do without, and what cannot be read is named by
-- what follows.
local head = redis.pcall('GETRANGE', TOKEN, 0, MAX_TOKEN)
local read = redis.pcall('HMGET', META, 'version', 'failures', 'retry_at')
if type(head) == 'string' and not read.err and etag(head, unpack(read)) == ARGV[2]
  and redis.call('SET', LOCK, ARGV[3], 'NX', 'PX', LOCK_TTL) then
  return now_ms()
end
if redis.call('TYPE', LOCK).ok == 'string' and redis.call('GET', LOCK) == ARGV[3] then
  redis.call('PEXPIRE', LOCK, LOCK_TTL)
  return now_ms() -- asked before, and the answer was lost: the work begins only now
end
