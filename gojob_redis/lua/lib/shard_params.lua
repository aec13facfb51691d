-- Parameters of the shards of one task, from the netstrings the caller packed them into.
local function keep_shard_params(task, packed)
  local at, args = 1, {}
  while at <= #packed do
    local colon = string.find(packed, ':', at, true)
    local size = colon and tonumber(string.sub(packed, at, colon - 1))
    if not size then break end
    args[#args + 1] = tostring(#args / 2)
    args[#args + 1] = string.sub(packed, colon + 1, colon + size)
    at = colon + size + 2
  end
  in_pieces('HSET', key.shard_params(task), args)
end
