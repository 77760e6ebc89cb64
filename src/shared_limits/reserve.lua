-- Reserves in all shared windows and at the first candidate that has room, or nowhere.
--
-- KEYS: gateways, then for each limited window: what counts, what is held. ARGV: the gateway, 1 where it is granted only below half of
-- every token limit, how many candidates there are, then for each window packed doubles: the slice in microseconds, 1 where it is fixed,
-- the candidate (0 is shared), six limits (-1 is none), six amounts.
-- Returns: the candidate (0 is none, -1: count first, -2: this gateway is not known here), the time, how many gateways there are, then for
-- each window what counts and what others hold, and its slices where it has no room.

if not seen[id] then return { -2, text(now), gateways } end
local half = ARGV[2] == '1'
local windows, room, below = {}, {}, true
for i = 1, (#KEYS - 1) / 2 do
  local counted, open = KEYS[i * 2], KEYS[i * 2 + 1]
  local a = doubles('<ddddddddddddddd', ARGV[3 + i])
  local total = advance(counted, a[1], a[2] == 1)
  local others, mine = held(open, a[1])
  local fits = true
  for d = 1, 6 do
    local after = (total[d] or 0) + others[d] + mine[d] + a[9 + d]
    if a[3 + d] >= 0 then
      if after > a[3 + d] then fits = false end
      if d >= 2 and d <= 4 and after > math.floor(a[3 + d] / 2) then below = false end
    end
  end
  if not fits then room[a[3]] = false end
  windows[i] = { a = a, counted = counted, open = open, total = total, others = others, mine = mine, fits = fits }
end

local chosen = 0
if half and not below then
  chosen = -1
elseif room[0] ~= false then
  for candidate = 1, tonumber(ARGV[3]) do
    if room[candidate] ~= false then
      chosen = candidate
      break
    end
  end
end

local answer = { chosen, text(now), gateways }
for _, window in ipairs(windows) do
  local part = window.a[3]
  if chosen > 0 and (part == 0 or part == chosen) then
    for d = 1, 6 do window.mine[d] = window.mine[d] + window.a[9 + d] end
    redis.call('HSET', window.open, id, pack6(window.mine))
    redis.call('PEXPIRE', window.open, 86400000)
  end
  answer[#answer + 1] = told(window.total, window.others)
  answer[#answer + 1] = (chosen == 0 and not window.fits) and redis.call('HGETALL', window.counted) or {}
end
return answer
