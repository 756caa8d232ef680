-- ARGV: lock TTL, claim, version seen at the claim, greatest version the process knows, its estimate of
-- our clock in ms, its tolerance in ms, token, cookies, 'new' or 'kept', TTL in ms, channel of all sites,
-- channel of the site, message with 0 for its version, number of fields of meta, these fields, fields of the history.
-- {word, state}.
local claim, seen, floor = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local estimate, tolerance = tonumber(ARGV[5]), tonumber(ARGV[6])
local new, ttl = ARGV[7], tonumber(ARGV[10])
local fields = tonumber(ARGV[14])

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
  record(15 + fields, 'outcome', 'superseded', 'version', string.format('%.0f', current))
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
local entry = record(15 + fields, 'outcome', 'refreshed', 'version', next_version)
-- By text: cjson would round what it writes to 14 digits. No field before the version can hold these characters.
local message = string.gsub(ARGV[13], '"version":0', '"version":' .. next_version, 1)
refused = announce(entry, ARGV[11], ARGV[12], message)
if refused then return refused end
redis.call('HSET', META, 'version', next_version, 'claim', claim, 'failures', '0', unpack(ARGV, 15, 14 + fields))
redis.call('HDEL', META, 'retry_at', 'retry_trigger', 'retry_stage', 'last_error')
redis.call('SET', TOKEN, new, 'PX', ttl)
redis.call('SET', COOKIES, ARGV[8], 'PX', ttl)
free(claim)
return { 'stored', state() }
