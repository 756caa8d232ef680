-- The start of every script: the keys, the arguments by their names, and the steps that several scripts share.
local TOKEN, COOKIES, META, LOCK, HISTORY = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local args = cjson.decode(ARGV[1])

-- Where the cookies are the product, one key is both.
local HAS_TOKEN = TOKEN ~= COOKIES
local MAX_COOKIES = 65536 -- bytes
local MAX_TOKEN = HAS_TOKEN and 16384 or MAX_COOKIES -- more than any token has, with what may stand around it
local MAX_VERSION = 2 ^ 53 - 2 ^ 20 -- a double holds every integer up to here exactly, and some above it
local MAX_FAILURES = 999999999
local MAX_FIELD = 16384 -- of meta
local MAX_LOCK = 3600000 -- ms: the longest that a setting allows

-- Replies an error before anything is read or written where a key holds another type.
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

-- A field of meta; false where it is longer than any that a sidecar writes.
local function field(name)
  return redis.call('HSTRLEN', META, name) <= MAX_FIELD and redis.call('HGET', META, name)
end

-- A field of meta that counts something; 0 where it is no integer from 0 to `greatest`.
local function count(name, greatest)
  local value = field(name)
  local number = value and #value <= 16 and tonumber(string.match(value, '^%d+$'))
  return number and number <= greatest and number or 0
end

local function version() return count('version', MAX_VERSION) end
-- One less than the greatest: the next failure is one more, and must be read back.
local function failures() return math.min(count('failures', MAX_FAILURES), MAX_FAILURES - 1) end

-- The string that a key holds; false where it is empty or longer than `limit`.
local function text(key, limit)
  local value = redis.call('GETRANGE', key, 0, limit)
  return value ~= '' and #value <= limit and value
end

-- Names all that decisions rest on: what the token's key holds (its length where that cannot be a token), and fields of
-- meta.
local function etag()
  local token = text(TOKEN, MAX_TOKEN) or 'length ' .. redis.call('STRLEN', TOKEN)
  local meta = { field('version') or '', field('failures') or '', field('retry_at') or '' }
  return redis.sha1hex(token .. '\n' .. table.concat(meta, '\n'))
end

-- What is left of the lock in ms, as PTTL has it. A sidecar's lock states its TTL in its value and is cut to it: more is
-- left where Redis' clock was set back. A lock without an end, set by hand, is given one and states it. No lock lasts
-- longer than a setting allows.
local function lock_left()
  local left = redis.call('PTTL', LOCK)
  if left < -1 then return left end
  local value = redis.call('GET', LOCK)
  local longest = tonumber(string.match(value, ':px=(%d+)$'))
  if left == -1 then
    if not longest then redis.call('SET', LOCK, value .. ':px=' .. args.lock_ttl) end
    longest = args.lock_ttl
  end
  longest = math.min(longest or MAX_LOCK, MAX_LOCK)
  if left == -1 or left > longest then
    redis.call('PEXPIRE', LOCK, longest)
    return longest
  end
  return left
end

-- The site's state, as names and values; false is a value that is not there.
local function state()
  local lock = lock_left()
  local reply = {
    'at', now_ms(), 'etag', etag(), 'version', version(), 'attempts', failures(), 'lock_ttl', lock,
    'product', HAS_TOKEN and 'token' or 'cookies', 'token', text(TOKEN, MAX_TOKEN),
    'token_ttl', redis.call('PTTL', TOKEN), 'cookies', text(COOKIES, MAX_COOKIES),
  }
  for _, name in ipairs({
    'fingerprint', 'refreshed_ms', 'expires_at', 'trigger', 'source', 'user_agent', 'retry_at', 'retry_trigger',
    'retry_stage', 'last_error',
  }) do
    table.insert(reply, name)
    table.insert(reply, field(name))
  end
  return reply
end

-- Frees the lock where it is this claim's; whether it was.
local function free()
  if redis.call('GET', LOCK) == args.claim then
    return redis.call('DEL', LOCK) == 1
  end
end

-- An error where the user may not run all of these commands, so that the script stops before its first write. Redis before
-- 7 cannot tell: there a script that is refused halfway stays half done.
local function forbidden(commands)
  for _, command in ipairs(redis.acl_check_cmd and commands or {}) do
    if not redis.acl_check_cmd(unpack(command)) then
      return redis.error_reply('NOPERM this user may not run ' .. command[1] .. ' on ' .. command[2])
    end
  end
end

-- Adds an entry to the history, with these fields before those of the arguments; its id. It is the first write of its
-- script: where Redis refuses writes, nothing has happened yet. A stream whose last id is the greatest possible one takes
-- no entry, which must cost no token: then there is no id.
local function record(...)
  local add = { 'XADD', HISTORY, 'MAXLEN', '~', '1000', '*', ... }
  for _, word in ipairs(args.history) do table.insert(add, word) end
  local id = redis.pcall(unpack(add))
  if type(id) ~= 'table' then return id end
  if string.find(id.err, 'exhausted the last possible ID', 1, true) then return nil end
  return redis.call(unpack(add)) -- ends the script with the same error
end

-- Publishes on the channel of all sites and on the site's own; an error where either is refused.
local function publish(message)
  for _, channel in ipairs(args.channels) do
    local sent = redis.pcall('PUBLISH', channel, message)
    if type(sent) == 'table' and sent.err then return redis.error_reply(sent.err) end
  end
end
