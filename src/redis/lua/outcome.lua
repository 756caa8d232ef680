-- What an outcome is written with.

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
