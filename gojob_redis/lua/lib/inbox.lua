-- What this call has to tell each gateway: hints on its inbox stream, one XADD per gateway and script.
-- Values are fields joined by the unit separator, binary parts last. Trimmed to about 10,000 entries.
-- A verb that sets `hints_for` puts the hints for that gateway, `answers`, into its reply instead.
--!include lib/state.lua
--!include limits
local UNIT = '\31'

local function tell(gateway, name, ...)
  local value = table.concat({...}, UNIT)
  inbox_bytes = inbox_bytes + #value
  if gateway == hints_for then -- guard: hints of another gateway go to its inbox
    answers[#answers + 1] = value
    return
  end
  local entries = inboxes[gateway] or {}
  inboxes[gateway] = entries
  entries[#entries + 1] = name
  entries[#entries + 1] = value
end

local function tell_cancel(session, fields, reason, grace_ms)
  tell(session.gateway, 'cancel:' .. seat_of(fields), 'cancel', session.id, session.conn, fields.run,
    fields.attempt, reason, int(grace_ms))
end

-- Asks the session's worker what it holds; its answer comes as a ``resume``.
local function tell_sync(session)
  tell(session.gateway, 'sync:' .. session.id, 'sync', session.id, session.conn)
end

-- An item that came before, from a gateway that asks: the first reply may be lost, and the hints with it. The worker's
-- list tells which of them it never heard of.
local function request_sync(id)
  local session = hints_for and not sync_requested[id] and session_of(id)
  sync_requested[id] = true
  if session then tell_sync(session) end
end

local function settle_inboxes()
  for gateway, entries in pairs(inboxes) do
    redis.call('XADD', key.inbox(gateway), 'MAXLEN', '~', limits.INBOX_ITEMS, '*', unpack(entries))
  end
  inboxes = {}
end
