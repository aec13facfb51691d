-- Keep tasks until somebody lets them go, or have them kept as others are again.
--
-- ARGV   now_ms   int  =clock   0 = ask Redis
-- ITEM   KeepItem
--        task     str
--        keep     str   always | usual
-- REPLY  ok ; no_epoch
-- EACH   word   ok | already | full | gone | later
-- FLAGS  allow-oom
-- COST   O(items)
--!include limits
--!include lib/clock.lua
--!include lib/record.lua
--!include lib/filed.lua
--!include lib/went_back.lua

local function keep_task(task, keep)
  local fields = record(task)
  if not fields or (fields.corrupt and not fields.later) then return 'gone' end
  if fields.later then return 'later' end
  if (fields.keep or DEFAULT_KEEP) == keep then return 'already' end
  local handler = handler_of(fields)
  -- guard: no more tasks of a handler are kept for ever than may be
  if keep == 'always' and redis.call('ZCARD', key.pinned(handler)) >= limits.PINNED_PER_HANDLER then return 'full' end
  if TERMINAL[fields.state] then
    unfile(fields, handler)
    put(task, 'keep', keep)
    tell_went_back(fields) -- guard: what is let go is found by a job that has passed the history of its handler
    file(fields, handler, int(tonumber(fields.ended) or wall))
  else
    put(task, 'keep', keep)
  end
  return 'ok'
end

local replies = {'ok'}
for i = 1, ITEM_COUNT do replies[1 + i] = keep_task(item(i)) end
settle_records()
settle_filed()
return replies
