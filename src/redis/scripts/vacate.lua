-- Frees the lock without an outcome, and tells the other replicas that they need not wait for its end.
if free() then redis.call('PUBLISH', args.channel, 'vacated') end
return 'done'
