-- What both scripts begin with. KEYS[1] is the table of gateways, ARGV[1] the name of the one that asks.
--
-- A window has three tables: what counts by slice, all gateways together ('t' is the sum, 'k' the oldest slice that is kept); what is
-- held with no end, by gateway; and each gateway's own part by slice. Amounts are packed doubles: requests, tokens, input, output,
-- cost, in flight (the last one only where it is held).

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local id = ARGV[1]
-- A gateway that was not heard of for so long (microseconds) is gone.
local LEASE = 10000000

local seen, gateways = {}, 0
do
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    seen[all[i]] = tonumber(all[i + 1])
    if now - seen[all[i]] < LEASE then gateways = gateways + 1 end
  end
end

local function text(number) return string.format('%.0f', number) end
-- Unpacking says last where it ended: that is no amount.
local function doubles(format, packed, from)
  local found = { struct.unpack(format, packed, from or 1) }
  found[#found] = nil
  return found
end
local function five(packed)
  if not packed then return { 0, 0, 0, 0, 0 } end
  return doubles('<ddddd', packed)
end
local function pack5(a) return struct.pack('<ddddd', a[1], a[2], a[3], a[4], a[5]) end
local function pack6(a) return struct.pack('<dddddd', a[1], a[2], a[3], a[4], a[5], a[6]) end
local function nothing(a)
  for d = 1, #a do if a[d] ~= 0 then return false end end
  return true
end

-- Forgets what is older than the window. Returns what counts and the oldest slice that is kept.
local function advance(key, slice, fixed)
  local newest = math.floor(now / slice)
  local keep = newest - 240
  if fixed then keep = math.floor(newest / 240) * 240 end
  local head = redis.call('HMGET', key, 't', 'k')
  local total = five(head[1])
  if not head[1] then return total, keep end
  local kept = tonumber(head[2])
  if kept < keep then
    local gone = {}
    if keep - kept > 300 then
      for _, field in ipairs(redis.call('HKEYS', key)) do
        local number = tonumber(field)
        if number and number < keep then gone[#gone + 1] = field end
      end
    else
      for number = kept, keep - 1 do gone[#gone + 1] = text(number) end
    end
    if #gone > 0 then
      local found = 0
      for _, packed in ipairs(redis.call('HMGET', key, unpack(gone))) do
        if packed then
          found = found + 1
          local amount = five(packed)
          for d = 1, 5 do total[d] = math.max(total[d] - amount[d], 0) end
        end
      end
      if found > 0 then redis.call('HDEL', key, unpack(gone)) end
    end
    redis.call('HSET', key, 't', pack5(total), 'k', text(keep))
  else
    keep = kept
  end
  return total, keep
end

-- What is held with no end: by others, and by the one that asks. Of a gateway that is gone, nobody knows what it sent: it counts for a
-- window more.
local function held(key, slice)
  local others, mine = { 0, 0, 0, 0, 0, 0 }, { 0, 0, 0, 0, 0, 0 }
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    local amount = doubles('<dddddd', all[i + 1])
    local silent = now - (seen[all[i]] or 0)
    if all[i] == id then
      mine = amount
    elseif silent < LEASE + slice * 241 then
      for d = 1, 5 do others[d] = others[d] + amount[d] end
      if silent < LEASE then others[6] = others[6] + amount[6] end
    else
      redis.call('HDEL', key, all[i])
    end
  end
  return others, mine
end

local function told(total, others) return pack5(total) .. pack6(others) end
