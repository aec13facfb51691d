-- Ids of tasks that jobs make: a function of the job and of what each is made of, so whatever is repeated makes nothing
-- twice.
--!include limits
--!include lib/base36.lua

-- Nine digits of base 36 that follow from a text: 23 bits each of two sums.
local function digits_of(text)
  local one, other = 1, 1
  for at = 1, #text do
    one = (one * 48271 + string.byte(text, at)) % 2147483647
    other = (other * 69621 + string.byte(text, at)) % 2147483629
  end
  return string.sub('000000000' .. base36(one % 8388607 * 8388607 + other % 8388607), -9)
end

-- The id, and whether there is that task already. Two sources of one id: the later of them takes another.
-- field: of the task's record, by which it says what it was made of.
local function child_id(source, field, value)
  local moment = string.sub(job, 2, 9)
  for try = 0, limits.JOB_IDS - 1 do
    local id = PARTITION .. 's' .. moment .. digits_of(job .. ' ' .. source .. ' ' .. try)
    local is_of = records[id] and records[id][field] or redis.call('HGET', key.task(id), field)
    if not is_of then return id, false end
    if is_of == value then return id, true end
  end
end
