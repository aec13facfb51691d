-- Tasks that move against the direction of a job that goes through their app: back to a lane or a timer, where the job has
-- been already. While it goes through the app it is told of them, and it looks at each at the end of its walk. So none that
-- was there when the walk began is missed, however often it moves.
--
-- `walks` of an app has these jobs: until when they are told, steady ms, and up to which moment the tasks were made that
-- they are for. A job that did nothing for longer than that begins its walk of the app anew.
--!include limits
--!include lib/state.lua
--!include lib/hash.lua
--!include lib/record.lua
local function walks_of(app)
  -- equivalent if true: they are read once more; only the cost differs
  if not walks_through[app] then
    local rows = guarded(key.walks(app), redis.pcall('HGETALL', key.walks(app)))
    walks_through[app] = rows
  end
  return walks_through[app]
end

local function tell_went_back(fields)
  local rows = walks_of(app_of(handler_of(fields)))
  if #rows == 0 then return end -- equivalent if false: nobody is told; only the cost differs
  local made_ms = tonumber(policy(fields).made) or 0
  for i = 1, #rows, 2 do
    local till, as_of = string.match(rows[i + 1], '^(%d+) (%d+)$')
    if till and steady < tonumber(till) and made_ms <= tonumber(as_of) then
      redis.call('SADD', key.went_back(rows[i]), (task_of(fields.run)))
      redis.call('PEXPIRE', key.went_back(rows[i]), 2 * limits.WALK_TOLD_MS)
    end
  end
end
