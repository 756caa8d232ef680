-- ARGV: lock TTL, etag, channel of all sites, channel of the site, message. {1, state} where it was published.
local before = state()
if before[6] ~= -2 or before[2] ~= ARGV[2] then
  return { 0, before }
end
redis.call('PUBLISH', ARGV[3], ARGV[5])
redis.call('PUBLISH', ARGV[4], ARGV[5])
return { 1, before }
