-- Tells the bytes with which names are disguised, and makes them where there are none and no other gateway was heard of for a minute: one
-- of a version before does not know them.
--
-- KEYS: the bytes, gateways. ARGV: the gateway, its predecessor, bytes that may be taken. Returns the bytes; none where there are others without.

local salt = redis.call('GET', KEYS[1])
if salt then return salt end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  if all[i] ~= ARGV[1] and all[i] ~= ARGV[2] and now - tonumber(all[i + 1]) < 60000000 then return '' end
end
redis.call('SET', KEYS[1], ARGV[3])
return ARGV[3]
