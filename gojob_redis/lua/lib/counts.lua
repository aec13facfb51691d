-- How many tasks share a state, a handler and a failure, of those that the `conditions` of the call let through.
--!include lib/filter.lua
local filter = task_filter.read(conditions, task_filter.lane)
for _, name in ipairs({'state', 'lane', 'failure', 'shards'}) do filter.fields[#filter.fields + 1] = name end
local counts = {rows = {}, by_facts = {}, handlers = {}}

-- Empty where the lane is gone.
function counts.handler_of(lane)
  if not lane then return '' end
  local handler = counts.handlers[lane]
  -- equivalent if true: only the cost differs
  if not handler then
    local facts = task_filter.lane(lane)
    handler = facts and facts.handler or ''
    counts.handlers[lane] = handler
  end
  return handler
end

-- State, handler, failure, and how many tasks have these.
function counts.row_of(state, handler, failure)
  local facts = state .. '\31' .. handler .. '\31' .. failure
  local row = counts.by_facts[facts]
  if not row then
    row = {state, handler, failure, 0}
    counts.by_facts[facts] = row
  end
  return row
end

-- The row of a task, and its number of shards; nil when it is not wanted, or no task.
function counts.find(task, is_of_handler)
  local values = redis.pcall('HMGET', key.task(task), unpack(filter.fields))
  if not passes(filter, values, is_of_handler and filter.count_in_handler or filter.count) then return nil end
  local state, lane, failure, shards = unpack(values, filter.count + 1)
  if not state then return nil end
  return counts.row_of(state, counts.handler_of(lane), failure or ''), shards
end

function counts.add(row)
  if row[4] == 0 then counts.rows[#counts.rows + 1] = row end
  row[4] = row[4] + 1
end
