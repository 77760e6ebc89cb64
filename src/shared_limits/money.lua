-- Takes a gateway's part of some budgets as it stands now, and tells what all spent and what others hold. Numbers are billionths of a
-- dollar; those of one gateway only grow within a period, for which every budget has keys of its own.
--
-- KEYS: gateways, then for each budget: what was spent, by gateway ('base' is what was before any of them), and what is held, by gateway.
-- ARGV: the gateway; 1 where it begins: one that is not known here and does not has to tell all again, for the server has lost its data, or
-- it was not heard of for too long; then for each budget: what it spent, what it holds, what had been spent before it (-1 is told already, or not known),
-- milliseconds after which it is forgotten (0 is never), how many pairs follow, and those: what is known of others, for a server that has
-- forgotten them.
-- Returns lists of texts: how many gateways there are, or 'forgotten'; then for each budget what others hold and all that was spent, by gateway.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local id = ARGV[1]
local LEASE = 10000000
-- What is larger would be no whole number to a gateway.
local function text(number) return string.format('%.0f', math.min(number, 9e18)) end

if ARGV[2] ~= '1' and redis.call('HEXISTS', KEYS[1], id) == 0 then return { { 'forgotten' } } end
redis.call('HSET', KEYS[1], id, text(now))
redis.call('PEXPIRE', KEYS[1], 86400000)
local seen, gateways = {}, 0
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if now - tonumber(all[i + 1]) < LEASE then
    seen[all[i]] = true
    gateways = gateways + 1
  else
    redis.call('HDEL', KEYS[1], all[i])
  end
end

local answer, at = { { text(gateways) } }, 3
for i = 1, (#KEYS - 1) / 2 do
  local spent, held = KEYS[i * 2], KEYS[i * 2 + 1]
  local before, forget, pairs_told = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local function atLeast(field, amount)
    if amount > tonumber(redis.call('HGET', spent, field) or '-1') then redis.call('HSET', spent, field, text(amount)) end
  end
  for j = 1, pairs_told do atLeast(ARGV[at + 3 + j * 2], tonumber(ARGV[at + 4 + j * 2])) end
  if before >= 0 then
    -- What others told is in what was read.
    local told = redis.call('HGETALL', spent)
    for j = 1, #told, 2 do
      if told[j] ~= 'base' and told[j] ~= id then before = before - tonumber(told[j + 1]) end
    end
    atLeast('base', math.max(before, 0))
  end
  if tonumber(ARGV[at]) > 0 then atLeast(id, tonumber(ARGV[at])) end
  if ARGV[at + 1] == '0' then redis.call('HDEL', held, id) else redis.call('HSET', held, id, ARGV[at + 1]) end
  if forget > 0 then redis.call('PEXPIRE', spent, forget) end
  redis.call('PEXPIRE', held, 86400000)
  local others, holds = 0, redis.call('HGETALL', held)
  for j = 1, #holds, 2 do
    if not seen[holds[j]] then
      redis.call('HDEL', held, holds[j])
    elseif holds[j] ~= id then
      others = others + tonumber(holds[j + 1])
    end
  end
  local told = redis.call('HGETALL', spent)
  table.insert(told, 1, text(others))
  answer[#answer + 1] = told
  at = at + 5 + pairs_told * 2
end
return answer
