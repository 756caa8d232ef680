-- The head of every script: the names of the keys, the time, and what names the state that decisions rest on.
local TOKEN, COOKIES, META, LOCK, HISTORY = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local LOCK_TTL = tonumber(ARGV[1])
local MAX_TOKEN = 16384 -- no token is longer, whatever stands around it

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- What the token's key holds, or false; a value that cannot be a token stays where it is. And its length.
local function token()
  local length = redis.call('STRLEN', TOKEN)
  return length <= MAX_TOKEN and redis.call('GET', TOKEN), length
end

-- Names all that decisions rest on: the token (its length where it is none), and these fields of meta.
local function etag_of(value, length, version, failures, retry_at)
  return redis.sha1hex(table.concat({
    value and 'token' .. value or 'length' .. length, version or '', failures or '', retry_at or '',
  }, '\n'))
end

-- That of what stands. And the token.
local function etag()
  local value, length = token()
  return etag_of(value, length, unpack(redis.call('HMGET', META, 'version', 'failures', 'retry_at'))), value
end
