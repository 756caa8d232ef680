-- ARGV: lock TTL, claim, channel on which the other replicas hear of it.
if redis.call('GET', LOCK) == ARGV[2] then
  redis.call('DEL', LOCK)
  redis.call('PUBLISH', ARGV[3], 'vacated')
end
return 1
