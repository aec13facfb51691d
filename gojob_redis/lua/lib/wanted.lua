-- Which tasks a search wants: `filters` has a line for each, `name value`, and all of them have to hold. It reads of a
-- record only what the filters compare.
--
--   state     one of these words, by blanks       label     the lane requires this pair, `env=gray`; several lines
--   handler   the lane is this handler's          others    the field of the record is this: reason, trigger, worker,
--                                                           parent, key
--   made      it was made between these two moments, ms
--!include lib/words.lua
local names, expected, states, own_handler, labels, made_from, made_to = {}, {}, nil, nil, {}, nil, nil

for line in string.gmatch(filters, '[^\n]+') do
  local name, value = string.match(line, '^(%l+) (.*)$')
  if name == 'state' then
    states = {}
    for _, word in ipairs(split(value, ' ')) do states[word] = true end
  elseif name == 'handler' then
    own_handler = value
  elseif name == 'made' then
    local first, last = string.match(value, '^(%d+) (%d+)$')
    made_from, made_to = tonumber(first), tonumber(last)
  elseif name == 'label' then
    labels[#labels + 1] = ',' .. value .. ','
  else
    names[#names + 1], expected[#expected + 1] = name, value
  end
end
local first_own = #names
if states then names[#names + 1] = 'state' end
if made_from then names[#names + 1] = 'made' end
if own_handler or #labels > 0 then names[#names + 1] = 'lane' end

local lane_fits = {}
local function is_lane_wanted(id)
  if lane_fits[id] ~= nil then return lane_fits[id] end
  local facts = redis.pcall('HMGET', key.lane(id), 'handler', 'labels')
  local fits = not facts.err and facts[1] and (not own_handler or facts[1] == own_handler)
  for _, pair in ipairs(labels) do
    fits = fits and string.find(',' .. (facts[2] or '') .. ',', pair, 1, true) ~= nil
  end
  lane_fits[id] = fits and true or false
  return lane_fits[id]
end

-- is_of_handler: it stands in an index of the handler that is wanted, so its lane tells nothing more.
local function is_wanted(task, is_of_handler)
  local count = #names
  if is_of_handler and own_handler and #labels == 0 then count = count - 1 end -- equivalent if false: only the cost differs
  if count == 0 then return true end -- equivalent if false: only the cost differs
  local values = redis.pcall('HMGET', key.task(task), unpack(names, 1, count))
  if values.err then return false end
  for i = 1, first_own do
    if values[i] ~= expected[i] then return false end
  end
  local at = first_own
  if states then
    at = at + 1
    if not states[values[at]] then return false end
  end
  if made_from then
    at = at + 1
    local made_ms = tonumber(values[at] or nil)
    if not made_ms or made_ms < made_from or made_ms > made_to then return false end
  end
  return at == count or (values[count] and is_lane_wanted(values[count])) or false
end
