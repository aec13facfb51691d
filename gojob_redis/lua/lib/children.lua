-- Children of a task: what it submitted while it ran, and what repeats it. `children` holds those of this partition, each
-- as long as its record is there or its parent's; their ids are in the order in which they were made.
--!include limits
local function add_child(parent, task)
  redis.call('ZADD', key.children(parent), 0, task)
end

local function forget_child(parent, task)
  redis.call('ZREM', key.children(parent), task)
end

local function is_full_of_children(parent)
  return redis.call('ZCARD', key.children(parent)) >= limits.CHILDREN
end
