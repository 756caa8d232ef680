-- The newest entries of the history: ids and fields. What no sidecar writes is cut: long values, many fields, and what
-- follows once 1 MiB is full.
local entries, room = {}, 1048576
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', ARGV[1])) do
  local fields = {}
  for n = 1, math.min(#entry[2], 64) do
    fields[n] = string.sub(entry[2][n], 1, 4096)
    room = room - #fields[n]
  end
  if room < 0 then break end
  table.insert(entries, { entry[1], fields })
end
return entries
