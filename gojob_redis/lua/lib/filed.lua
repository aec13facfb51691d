-- Where tasks stand that are over: the one writer of `history`, `failed` and `pinned`, besides what removes from them.
--!include lib/state.lua
--!include lib/lane.lua

-- A record whose lane nobody knows any more is filed under `?`.
local function handler_of(fields)
  local lane = lane_with(fields.lane)
  return lane and lane.handler or '?'
end

-- The index of an ended task, kind and name: of those that somebody wants kept, of the failed ones of its app, or the
-- history of its handler.
local function filed_under(fields, handler)
  if fields.keep == 'always' then return 'pinned', handler end
  if fields.state == 'run_to_completion' then return 'history', handler end
  return 'failed', handler == '?' and '?' or app_of(handler)
end

local function file(fields, handler, ended)
  local kind, name = filed_under(fields, handler)
  local index = kind == 'history' and histories or kind == 'failed' and failures or pins
  local entries = index[name] or {}
  index[name] = entries
  entries[#entries + 1] = ended
  entries[#entries + 1] = fields.run
end

-- Takes an ended task out of the index where it stands.
local function unfile(fields, handler)
  local kind, name = filed_under(fields, handler)
  if kind == 'pinned' then
    redis.call('ZREM', key.pinned(name), fields.run)
  elseif kind == 'failed' then
    redis.call('ZREM', key.failed(name), fields.run)
  else
    redis.call('ZREM', key.history(name), fields.run)
  end
end

-- One command an index.
local function settle_filed()
  for handler, entries in pairs(histories) do in_pieces('ZADD', key.history(handler), entries) end
  for app, entries in pairs(failures) do in_pieces('ZADD', key.failed(app), entries) end
  for handler, entries in pairs(pins) do in_pieces('ZADD', key.pinned(handler), entries) end
  histories, failures, pins = {}, {}, {}
end
