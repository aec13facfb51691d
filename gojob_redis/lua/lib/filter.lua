-- Which tasks a search or a job means: a `name=value` for each condition, joined by \31, as domain/filters.py writes it.
-- What is left out lets every task through. `handler`: its name in its app; `state`, `reason`: words joined by commas, one
-- of which it has; `label`: pairs joined by commas, all of which it requires; `from`, `to`: ms, of its end, or of when it
-- was made while it is not over.
--!include lib/lane.lua
local task_filter = {}

function task_filter.words(text)
  local words = {}
  for _, word in ipairs(split(text, ',')) do words[word] = true end
  return words
end

function task_filter.read(text)
  local filter = {}
  for name, value in string.gmatch(text, '(%l+)=([^\31]*)') do filter[name] = value end
  filter.states = filter.state and task_filter.words(filter.state)
  filter.reasons = filter.reason and task_filter.words(filter.reason)
  filter.from, filter.to = tonumber(filter.from), tonumber(filter.to)
  return filter
end

function task_filter.has_labels(lane, labels)
  local own = ',' .. lane.labels .. ','
  for _, label in ipairs(split(labels, ',')) do
    if not string.find(own, ',' .. label .. ',', 1, true) then return false end
  end
  return true
end

function task_filter.has_lane(filter, id)
  if not filter.handler and not filter.label then return true end -- equivalent if false: only the cost differs
  local lane = lane_with(id or '')
  if not lane or (filter.handler and string.match(lane.handler, '[^/]*$') ~= filter.handler) then return false end
  return not filter.label or task_filter.has_labels(lane, filter.label)
end

function task_filter.is_when(filter, moment)
  return (moment or 0) >= (filter.from or 0) and (moment or 0) < (filter.to or math.huge)
end

-- fields: of the task's record, by name.
function task_filter.passes(filter, fields)
  return (not filter.states or filter.states[fields.state] == true)
    and (not filter.reasons or filter.reasons[fields.reason or ''] == true)
    and (not filter.trigger or filter.trigger == fields.trigger)
    and (not filter.worker or filter.worker == fields.worker)
    and (not filter.parent or filter.parent == fields.parent)
    and task_filter.is_when(filter, tonumber(fields.ended or fields.made))
    and task_filter.has_lane(filter, fields.lane)
end
