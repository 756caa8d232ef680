-- The head of every script: the names of the keys, the time, and what names the state that decisions rest on.
local TOKEN, COOKIES, META, LOCK, HISTORY = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local LOCK_TTL = tonumber(ARGV[1])
local MAX_TOKEN = 16384 -- no token is longer, whatever stands around it
local MAX_COOKIES = 65536

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Names all that decisions rest on: what the token's key holds (its length where it is longer than its head, and so no
-- token), and these fields of meta.
local function etag(head, version, failures, retry_at)
  if #head > MAX_TOKEN then head = 'length ' .. redis.call('STRLEN', TOKEN) end
  return redis.sha1hex(head .. '\n' .. (version or '') .. '\n' .. (failures or '') .. '\n' .. (retry_at or ''))
end
