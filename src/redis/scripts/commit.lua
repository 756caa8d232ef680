-- Stores a token, announces it and frees the lock, or does none of it. {'done', 'unrecorded', 'superseded' or
-- 'clock', state}; 'unrecorded' is done without an entry in the history.
if field('claim') == args.claim then
  return { 'done', state() } -- asked before, and the answer was lost
end
local refused = forbidden({
  { 'XADD', HISTORY, '*', 'f', 'v' }, { 'PUBLISH', args.channels[1], 'm' }, { 'PUBLISH', args.channels[2], 'm' },
  { 'HSET', META, 'f', 'v' }, { 'HDEL', META, 'f' }, { 'SET', TOKEN, 'v' }, { 'SET', COOKIES, 'v' },
  { 'DEL', LOCK },
})
if refused then return refused end
local current = version()
if current > args.version_at_claim then
  record('outcome', 'superseded', 'version', string.format('%.0f', current))
  free()
  return { 'superseded', state() }
end

local ttl = args.ttl
if args.adopts then
  -- The key must still hold this token, and keeps the TTL that it has. What may stand around a token is what the domain's
  -- `Token::parse` takes off; cookies are taken as they stand.
  local found = text(TOKEN, MAX_TOKEN) or ''
  if HAS_TOKEN then
    found = string.match(found, '^%s*(.-)%s*$')
    local scheme, rest = string.match(found, '^(%a+)%s+(.*)$')
    if scheme and string.lower(scheme) == 'bearer' then found = rest end
  end
  if found ~= args.token then
    free()
    return { 'superseded', state() }
  end
  local left = redis.call('PTTL', TOKEN)
  if left > 0 then ttl = left end
end
local now = now_ms()
if math.abs(now - args.now) > args.tolerance then
  return { 'clock', state() }
end

local next_version = math.max(now, current + 1, args.minimum_version + 1)
if next_version > MAX_VERSION then next_version = now end -- another program wrote the greatest: begin again with the time
next_version = string.format('%.0f', next_version)
-- The message has 0 for its version. It is replaced as text: cjson writes no more than 14 digits of a number.
local message = string.gsub(args.message, '"version":0', '"version":' .. next_version, 1)
local entry = record('outcome', 'refreshed', 'version', next_version)
refused = publish(message)
if refused then
  if entry then redis.call('XDEL', HISTORY, entry) end
  return refused
end
redis.call('HSET', META, 'version', next_version, 'claim', args.claim, 'failures', '0', unpack(args.meta))
redis.call('HDEL', META, 'retry_at', 'retry_trigger', 'retry_stage', 'last_error')
redis.call('SET', TOKEN, args.token, 'PX', ttl)
if HAS_TOKEN then redis.call('SET', COOKIES, args.cookies, 'PX', ttl) end
free()
return { entry and 'done' or 'unrecorded', state() }
