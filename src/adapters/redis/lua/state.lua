-- The head of every script: the names of the keys, and the site's state as one reply.
local TOKEN, COOKIES, META, LOCK, HISTORY = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local LOCK_TTL = tonumber(ARGV[1])
local MAX_TOKEN = 16384 -- no token is longer, whatever stands around it

-- Replies an error before anything is read or written where a key holds something else.
for key, expected in pairs({
  [TOKEN] = 'string', [COOKIES] = 'string', [META] = 'hash', [LOCK] = 'string', [HISTORY] = 'stream',
}) do
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= expected then
    return redis.error_reply('WRONGTYPE ' .. key .. ' holds a ' .. found .. ', not a ' .. expected)
  end
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A field of meta that counts, as this project writes it; whatever else stands there is 0, and nobody reads it otherwise.
local function count(field, digits)
  local text = redis.call('HGET', META, field)
  return text and #text <= digits and tonumber(string.match(text, '^%d+$')) or 0
end

-- 15 digits are exact in a double.
local function version() return count('version', 15) end
local function failures() return count('failures', 9) end

-- What the token's key holds, or false; a value that cannot be a token stays where it is. And its length.
local function token()
  local length = redis.call('STRLEN', TOKEN)
  return length <= MAX_TOKEN and redis.call('GET', TOKEN), length
end

-- Names all that decisions rest on. And the token.
local function etag()
  local value, length = token()
  local decisive = redis.call('HMGET', META, 'version', 'failures', 'retry_at')
  return redis.sha1hex(table.concat({
    value and 'token' .. value or 'length' .. length, decisive[1] or '', decisive[2] or '', decisive[3] or '',
  }, '\n')), value
end

-- {ms, etag, token, token's PTTL, lock's PTTL, version, failures, fields of meta}: see `read` in state.rs.
local function state()
  local lock = redis.call('PTTL', LOCK)
  if lock == -1 or lock > LOCK_TTL then -- set by hand, or before the clock was set back: it is given its end
    redis.call('PEXPIRE', LOCK, LOCK_TTL)
    lock = LOCK_TTL
  end
  local name, value = etag()
  local meta = redis.call('HMGET', META, 'fingerprint', 'refreshed_ms', 'trigger', 'source', 'user_agent',
    'retry_at', 'retry_trigger', 'retry_stage', 'last_error')
  return { now_ms(), name, value, redis.call('PTTL', TOKEN), lock, version(), failures(), meta }
end

-- Replies an error before anything is written where the user may not do all of it. Redis 7 and later can
-- tell; before that, an outcome that is refused halfway stays half done.
local function forbidden(commands)
  for _, command in ipairs(redis.acl_check_cmd and commands or {}) do
    if not redis.acl_check_cmd(unpack(command)) then
      return redis.error_reply('NOPERM this user may not run ' .. command[1] .. ' on ' .. command[2])
    end
  end
end

local function free(claim)
  if redis.call('GET', LOCK) == claim then
    redis.call('DEL', LOCK)
  end
end

-- An entry of the history from ARGV[first] on. It is the first write of its script: where writes are
-- refused, nothing else has happened yet.
local function record(first, ...)
  local entry = { 'XADD', HISTORY, 'MAXLEN', '~', '1000', '*' }
  for _, word in ipairs({ ... }) do entry[#entry + 1] = word end
  for i = first, #ARGV do entry[#entry + 1] = ARGV[i] end
  return redis.call(unpack(entry))
end

-- Publishes on both channels; where that is refused, takes the entry of the history back.
local function announce(entry, everywhere, here, message)
  for _, channel in ipairs({ everywhere, here }) do
    local sent = redis.pcall('PUBLISH', channel, message)
    if type(sent) == 'table' and sent.err then
      redis.call('XDEL', HISTORY, entry)
      return redis.error_reply(sent.err)
    end
  end
end
