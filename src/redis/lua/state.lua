-- The site's state as one reply.

-- Replies an error before anything is read or written where a key holds something else.
for key, expected in pairs({
  [TOKEN] = 'string', [COOKIES] = 'string', [META] = 'hash', [LOCK] = 'string', [HISTORY] = 'stream',
}) do
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= expected then
    return redis.error_reply('WRONGTYPE ' .. key .. ' holds a ' .. found .. ', not a ' .. expected)
  end
end

-- A field of meta that counts, as this project writes it; whatever else stands there is 0, and nobody reads it otherwise.
local function count(field, digits)
  local text = redis.call('HGET', META, field)
  return text and #text <= digits and tonumber(string.match(text, '^%d+$')) or 0
end

-- 15 digits are exact in a double.
local function version() return count('version', 15) end
local function failures() return count('failures', 9) end

-- What the token's key holds, up to one byte more than a token can have.
local function head() return redis.call('GETRANGE', TOKEN, 0, MAX_TOKEN) end

-- That, or false where it cannot be a token: such a value stays where it is.
local function token(value) return value ~= '' and #value <= MAX_TOKEN and value end

-- What the key of the cookies holds, or false where that is longer than any cookies can be.
local function cookies()
  local value = redis.call('GETRANGE', COOKIES, 0, MAX_COOKIES)
  return value ~= '' and #value <= MAX_COOKIES and value
end

-- The lock's PTTL.
local function lock_left()
  local left = redis.call('PTTL', LOCK)
  if left == -1 or left > LOCK_TTL then -- set by hand, or before the clock was set back: it is given its end
    redis.call('PEXPIRE', LOCK, LOCK_TTL)
    left = LOCK_TTL
  end
  return left
end

-- {ms, etag, token, cookies, token's PTTL, lock's PTTL, version, failures, fields of meta}: see `read` in state.rs.
local function state()
  local lock = lock_left()
  local value = head()
  local name = etag(value, unpack(redis.call('HMGET', META, 'version', 'failures', 'retry_at')))
  local meta = redis.call('HMGET', META, 'fingerprint', 'refreshed_ms', 'trigger', 'source', 'user_agent',
    'retry_at', 'retry_trigger', 'retry_stage', 'last_error')
  return { now_ms(), name, token(value), cookies(), redis.call('PTTL', TOKEN), lock, version(), failures(), meta }
end
