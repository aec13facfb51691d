-- Which tasks a search or a job means: a `name=value` for each condition, joined by \31, as domain/filters.py writes it.
-- What is left out lets every task through.
--
--   handler   its name in its app                      trigger, worker, parent,
--                                          failure   the field of its record is this
--   state, reason   words joined by commas, of which   label   pairs joined by commas, all of which it requires
--             it has one
--   from, to  ms: when it ended, or was made while it is not over, from the first on, before the other
--!include lib/words.lua
local task_filter = {
  names = {'state', 'reason', 'trigger', 'worker', 'parent', 'failure'},
  is_list = {state = true, reason = true},
}

-- The conditions of a filter by name, also those on triggers.
local function conditions_in(text)
  local asked = {}
  for name, value in string.gmatch(text, '(%l+)=([^\31]*)') do asked[name] = value end
  return asked
end

local function words_in(text)
  local words = {}
  for _, word in ipairs(split(text, ',')) do words[word] = true end
  return words
end

-- A lane as it stands there: for what only reads.
function task_filter.lane(id)
  local facts = redis.pcall('HMGET', key.lane(id), 'handler', 'labels')
  return not facts.err and facts[1] and {handler = facts[1], labels = facts[2] or ''} or nil
end

-- fields: what it compares of a record, in this order. lane_of: gives the handler and the labels of a lane by its id.
function task_filter.read(text, lane_of)
  local asked = conditions_in(text)
  local filter = {fields = {}, accepted = {}, lane_of = lane_of, fits = {}, handler = asked.handler}
  for _, name in ipairs(task_filter.names) do
    local value = asked[name]
    if value then
      filter.fields[#filter.fields + 1] = name
      filter.accepted[#filter.fields] = task_filter.is_list[name] and words_in(value) or {[value] = true}
    end
  end
  filter.from, filter.to = tonumber(asked.from or nil) or 0, tonumber(asked.to or nil) or math.huge
  filter.is_timed = asked.from or asked.to
  if filter.is_timed then
    filter.fields[#filter.fields + 1] = 'ended'
    filter.fields[#filter.fields + 1] = 'made'
  end
  filter.labels = split(asked.label, ',')
  filter.count_in_handler = #filter.fields
  if filter.handler or #filter.labels > 0 then filter.fields[#filter.fields + 1] = 'lane' end
  filter.count = #filter.fields
  if #filter.labels > 0 then filter.count_in_handler = filter.count end
  return filter
end

function task_filter.fits_lane(filter, id)
  local lane = filter.lane_of(id)
  if not lane or (filter.handler and string.match(lane.handler, '[^/]*$') ~= filter.handler) then return false end
  local own = ',' .. lane.labels .. ','
  for _, label in ipairs(filter.labels) do
    if not string.find(own, ',' .. label .. ',', 1, true) then return false end
  end
  return true
end

function task_filter.has_lane(filter, id)
  if not id then return false end
  -- equivalent if true: only the cost differs
  if filter.fits[id] == nil then filter.fits[id] = task_filter.fits_lane(filter, id) end
  return filter.fits[id]
end

-- values: of the first `count` of its fields.
local function passes(filter, values, count)
  local accepted = filter.accepted
  local last = #accepted
  for i = 1, last do
    if not accepted[i][values[i]] then return false end
  end
  if filter.is_timed then
    local moment = tonumber(values[last + 1] or values[last + 2] or nil) or 0
    if moment < filter.from or moment >= filter.to then return false end
    last = last + 2
  end
  return last == count or task_filter.has_lane(filter, values[count])
end

-- Whether it lets a task through, of whose record it reads only what it compares. is_of_handler: it stands in an index of
-- the handler that is meant, so its lane tells nothing more, but for labels.
local function lets_through(filter, task, is_of_handler)
  local count = filter.count
  if is_of_handler then count = filter.count_in_handler end
  if count == 0 then return true end
  local values = redis.pcall('HMGET', key.task(task), unpack(filter.fields, 1, count))
  return not values.err and passes(filter, values, count)
end

-- facts: fields of a record by name, all that the filter compares.
function task_filter.passes_by_name(filter, facts)
  local values = {}
  for at, name in ipairs(filter.fields) do values[at] = facts[name] or false end
  return passes(filter, values, #filter.fields)
end
