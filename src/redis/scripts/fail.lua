-- Notes a failed attempt, announces it and frees the lock, or does none of it. {'done', 'unrecorded', 'superseded' or
-- 'clock', state}; 'unrecorded' is done without an entry in the history.
if field('claim') == args.claim then
  return { 'done', state() } -- asked before, and the answer was lost
end
local refused = forbidden({
  { 'XADD', HISTORY, '*', 'f', 'v' }, { 'PUBLISH', args.channels[1], 'm' }, { 'PUBLISH', args.channels[2], 'm' },
  { 'HSET', META, 'f', 'v' }, { 'DEL', LOCK },
})
if refused then return refused end
local holder = redis.call('GET', LOCK)
if (holder and holder ~= args.claim) or version() > args.version_at_claim or failures() >= args.attempt then
  free()
  return { 'superseded', state() } -- another replica works on it, or has had an outcome
end
if math.abs(now_ms() - args.now) > args.tolerance then
  return { 'clock', state() }
end

local entry = record('outcome', 'failed')
refused = publish(args.message)
if refused then
  if entry then redis.call('XDEL', HISTORY, entry) end
  return refused
end
redis.call('HSET', META, 'claim', args.claim, 'failures', args.attempt, unpack(args.meta))
free()
return { entry and 'done' or 'unrecorded', state() }
