-- ARGV: lock TTL, claim, version seen at the claim, failures in a row, the process' estimate of our clock in
-- ms, its tolerance in ms, channel of all sites, channel of the site, message, number of fields of meta,
-- these fields, fields of the history. {word, state}.
local claim, seen, attempt = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local estimate, tolerance = tonumber(ARGV[5]), tonumber(ARGV[6])
local fields = tonumber(ARGV[10])

if redis.call('HGET', META, 'claim') == claim then
  return { 'done', state() } -- asked before, and the answer was lost
end
local refused = forbidden({
  { 'XADD', HISTORY, '*', 'f', 'v' }, { 'PUBLISH', ARGV[7], 'm' }, { 'PUBLISH', ARGV[8], 'm' },
  { 'HSET', META, 'f', 'v' }, { 'DEL', LOCK },
})
if refused then return refused end
local holder = redis.call('GET', LOCK)
if (holder and holder ~= claim) or version() > seen or failures() >= attempt then
  free(claim)
  return { 'dropped', state() } -- somebody else works on it, or has an outcome already
end
if math.abs(now_ms() - estimate) > tolerance then
  return { 'clock', state() }
end

local entry = record(11 + fields, 'outcome', 'failed')
refused = announce(entry, ARGV[7], ARGV[8], ARGV[9])
if refused then return refused end
redis.call('HSET', META, 'claim', claim, 'failures', ARGV[4], unpack(ARGV, 11, 10 + fields))
free(claim)
return { 'done', state() }
