-- What this call has to tell each gateway: hints on its inbox stream, one XADD per gateway and script.
-- Values are fields joined by the unit separator, binary parts last. Trimmed to about 10,000 entries.
local UNIT = '\31'
local inboxes, inbox_bytes = {}, 0

local function tell(gateway, name, ...)
  local entries = inboxes[gateway] or {}
  inboxes[gateway] = entries
  local value = table.concat({...}, UNIT)
  entries[#entries + 1] = name
  entries[#entries + 1] = value
  inbox_bytes = inbox_bytes + #value
end

local function tell_cancel(session, fields, reason, grace_ms)
  tell(session.gateway, 'cancel:' .. seat_of(fields), 'cancel', session.id, session.conn, fields.run,
    fields.attempt, reason, int(grace_ms))
end

-- Asks the session's worker what it holds; its answer comes as a ``resume``.
local function tell_sync(session)
  tell(session.gateway, 'sync:' .. session.id, 'sync', session.id, session.conn)
end

local function settle_inboxes()
  for gateway, entries in pairs(inboxes) do
    redis.call('XADD', key.inbox(gateway), 'MAXLEN', '~', 10000, '*', unpack(entries))
  end
  inboxes = {}
end
