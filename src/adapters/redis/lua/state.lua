-- The head of every script: the names of the keys, and the site's state as one reply.
local TOKEN, COOKIES, META, LOCK, HISTORY = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local LOCK_TTL = tonumber(ARGV[1])

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function version()
  return tonumber(redis.call('HGET', META, 'version') or '0') or 0
end

-- {ms, etag, token, token's PTTL, lock's PTTL, fields of meta}: see `read` in store.rs.
local function state()
  local token = redis.call('GET', TOKEN)
  local lock = redis.call('PTTL', LOCK)
  if lock == -1 then -- set by hand, without an end: it is given one
    redis.call('PEXPIRE', LOCK, LOCK_TTL)
    lock = LOCK_TTL
  end
  local meta = redis.call('HMGET', META, 'version', 'fingerprint', 'refreshed_ms', 'trigger', 'source',
    'user_agent', 'failures', 'retry_at', 'retry_trigger', 'retry_stage', 'last_error')
  local etag = redis.sha1hex(table.concat({
    token or '', meta[1] or '', meta[7] or '', meta[8] or '',
  }, '\n'))
  return { now_ms(), etag, token, redis.call('PTTL', TOKEN), lock, meta }
end

-- Replies an error before anything is written where a key holds something else.
local function check_types()
  for key, expected in pairs({ [META] = 'hash', [HISTORY] = 'stream' }) do
    local found = redis.call('TYPE', key).ok
    if found ~= 'none' and found ~= expected then
      return redis.error_reply('WRONGTYPE ' .. key .. ' holds a ' .. found .. ', not a ' .. expected)
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
