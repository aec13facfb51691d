-- Delete a trigger: it fires no more from this call on. Its ledger stays 30 days under its uid, beside whose
-- it was, and the app lists it as removed; its tasks go on.
--
-- ARGV   now_ms   int  =clock   0 = ask Redis
--        app      str
--        name     str
-- REPLY  ok | gone ; no_epoch
--        uid   str
-- FLAGS  allow-oom
-- COST   O(agenda)
--!include limits
--!include lib/clock.lua
--!include lib/removal.lua
local uid, card = named(app, name)
if not uid then return {'gone', ''} end
remove_trigger(app, name, uid, card)
settle_due()
return {'ok', uid}
