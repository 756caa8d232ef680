-- ARGV: lock TTL, claim, version seen at the claim, greatest version the process knows, its estimate of
-- our clock in ms, its tolerance in ms, token, cookies, 'new' or 'kept', TTL in ms, channel of all sites,
-- channel of the site, message before its version, message after it, number of fields of meta, these
-- fields, fields of the history. {word, state}.
local claim, seen, floor = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local estimate, tolerance = tonumber(ARGV[5]), tonumber(ARGV[6])
local new, cookies, ttl = ARGV[7], ARGV[8], tonumber(ARGV[10])
local fields = tonumber(ARGV[15])

-- What somebody wrote, less what the domain's `Token::parse` takes away too.
local function bare(value)
  local text = string.match(value or '', '^%s*(.-)%s*$')
  local scheme, rest = string.match(text, '^(%a+)%s+(.*)$')
  return scheme and string.lower(scheme) == 'bearer' and rest or text
end

if redis.call('HGET', META, 'claim') == claim then
  return { 'stored', state() } -- asked before, and the answer was lost
end
local refused = forbidden({
  { 'XADD', HISTORY, '*', 'f', 'v' }, { 'PUBLISH', ARGV[11], 'm' }, { 'PUBLISH', ARGV[12], 'm' },
  { 'HSET', META, 'f', 'v' }, { 'HDEL', META, 'f' }, { 'SET', TOKEN, 'v' }, { 'SET', COOKIES, 'v' },
  { 'DEL', LOCK },
})
if refused then return refused end
local current = version()
if current > seen then
  record(16 + fields, 'outcome', 'superseded', 'version', string.format('%.0f', current))
  free(claim)
  return { 'superseded', state() }
end
if ARGV[9] == 'kept' then
  if bare(token(head())) ~= new then
    free(claim)
    return { 'superseded', state() }
  end
  local left = redis.call('PTTL', TOKEN)
  if left > 0 then ttl = left end
end
local now = now_ms()
if math.abs(now - estimate) > tolerance then
  return { 'clock', state() }
end

local next_version = string.format('%.0f', math.max(now, current + 1, floor + 1))
local entry = record(16 + fields, 'outcome', 'refreshed', 'version', next_version)
refused = announce(entry, ARGV[11], ARGV[12], ARGV[13] .. next_version .. ARGV[14])
if refused then return refused end
redis.call('HSET', META, 'version', next_version, 'claim', claim, 'failures', '0', unpack(ARGV, 16, 15 + fields))
redis.call('HDEL', META, 'retry_at', 'retry_trigger', 'retry_stage', 'last_error')
redis.call('SET', TOKEN, new, 'PX', ttl)
redis.call('SET', COOKIES, cookies, 'PX', ttl)
free(claim)
-- The state, out of what was just written: Redis sends the announcement when the script has ended.
local meta = {}
for i = 16, 15 + fields, 2 do meta[ARGV[i]] = ARGV[i + 1] end
return { 'stored', {
  now, etag(new, next_version, '0'), new, ttl, lock_left(), next_version, 0,
  { meta.fingerprint, meta.refreshed_ms, meta.trigger, meta.source, meta.user_agent },
} }
