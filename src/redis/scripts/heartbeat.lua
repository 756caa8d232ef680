-- Whether the token's key exists, and the time. Without the prelude: it runs often, and for each site.
local time = redis.call('TIME')
return { redis.call('EXISTS', KEYS[1]), time[1] * 1000 + math.floor(time[2] / 1000) }
