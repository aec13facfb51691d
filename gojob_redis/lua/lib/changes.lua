-- What those who watch a partition have to look at: runs that changed, by their lane, and apps with new events.
--
-- It is left only while somebody watches (`watch` says so in `meta`), with one command a script. It is a hint: what
-- became of a run its record says. `on` says that nobody watched before.
--!include lib/state.lua
--!include limits
local function leave_change(...)
  return redis.call('XADD', key.changes, 'MAXLEN', '~', limits.CHANGES_ITEMS, '*', ...)
end

local function tell_runs_changed()
  local runs_of, fields = {}, {}
  for _, changed in ipairs({new_records, unwritten}) do
    for run in pairs(changed) do
      local lane = records[run].lane or ''
      runs_of[lane] = runs_of[lane] or {}
      runs_of[lane][#runs_of[lane] + 1] = run
    end
  end
  for lane, runs in pairs(runs_of) do
    fields[#fields + 1] = lane
    fields[#fields + 1] = table.concat(runs, ' ')
  end
  if #fields > 0 then leave_change(unpack(fields)) end
end

-- Once a call.
local function tell_app_changed(app)
  if not is_watched or changed_apps[app] then return end
  changed_apps[app] = true
  leave_change('events', app)
end
