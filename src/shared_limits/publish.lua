-- Takes a gateway's own part of some windows as it stands now: told twice, it counts once.
--
-- KEYS: gateways, then for each window: what counts, what is held, the gateway's own part, its predecessor's. ARGV: the gateway; 1 where it
-- begins, 2 where these windows alone do, else 0: where anything begins, its predecessor's part is taken away first; the predecessor, which
-- may be itself; then for each window packed doubles: the slice in microseconds, 1 where it is fixed, the milliseconds after which all of it
-- is forgotten, 1 where its slices are wanted, six amounts that are held, and for each slice that changed its number and five amounts.
-- Returns as `reserve` does, the candidate being 1.

local begins, succeeds, before = ARGV[2] == '1', ARGV[2] ~= '0', ARGV[3]
if not begins and not seen[id] then return { -2, text(now), gateways } end
if not seen[id] or now - seen[id] >= LEASE then gateways = gateways + 1 end
if begins and before ~= id and seen[before] then
  if now - seen[before] < LEASE then gateways = gateways - 1 end
  redis.call('HDEL', KEYS[1], before)
end
for other, last in pairs(seen) do
  if now - last > 86400000000 then redis.call('HDEL', KEYS[1], other) end
end
redis.call('HSET', KEYS[1], id, text(now))
redis.call('PEXPIRE', KEYS[1], 86400000)

local answer = { 1, text(now), gateways }
for i = 1, (#KEYS - 1) / 4 do
  local at = (i - 1) * 4 + 1
  local counted, open, own, former = KEYS[at + 1], KEYS[at + 2], KEYS[at + 3], KEYS[at + 4]
  local packed = ARGV[3 + i]
  local slice, fixed, forget, wanted = struct.unpack('<dddd', packed)
  local mine = doubles('<dddddd', packed, 33)
  local total, keep = advance(counted, slice, fixed == 1)

  local function add(field, sign, amount)
    local sum = five(redis.call('HGET', counted, field))
    for d = 1, 5 do
      sum[d] = math.max(sum[d] + sign * amount[d], 0)
      total[d] = math.max(total[d] + sign * amount[d], 0)
    end
    if nothing(sum) then redis.call('HDEL', counted, field) else redis.call('HSET', counted, field, pack5(sum)) end
  end

  if succeeds then
    local all = redis.call('HGETALL', former)
    for j = 1, #all, 2 do
      if tonumber(all[j]) >= keep then add(all[j], -1, five(all[j + 1])) end
    end
    redis.call('DEL', former)
    redis.call('HDEL', open, before)
  end
  for from = 81, #packed, 48 do
    local number = struct.unpack('<d', packed, from)
    local amount = doubles('<ddddd', packed, from + 8)
    local field = text(number)
    if number >= keep then
      local old = five(redis.call('HGET', own, field))
      for d = 1, 5 do old[d] = amount[d] - old[d] end
      add(field, 1, old)
    end
    if number < keep or nothing(amount) then
      redis.call('HDEL', own, field)
    else
      redis.call('HSET', own, field, pack5(amount))
    end
  end
  redis.call('HSET', counted, 't', pack5(total), 'k', text(keep))
  if nothing(mine) then redis.call('HDEL', open, id) else redis.call('HSET', open, id, pack6(mine)) end
  redis.call('PEXPIRE', counted, forget)
  redis.call('PEXPIRE', own, forget)
  redis.call('PEXPIRE', open, 86400000)
  local others = held(open, slice)
  answer[#answer + 1] = told(total, others)
  answer[#answer + 1] = wanted == 1 and redis.call('HGETALL', counted) or {}
end
return answer
