-- Publishes a message about the state, if the lock is free and the state is still the one that `etag` names.
-- {'done' or 'changed', state}.
local before = state()
if redis.call('EXISTS', LOCK) == 1 or etag() ~= args.etag then
  return { 'changed', before }
end
local refused = publish(args.message)
if refused then return refused end
return { 'done', before }
