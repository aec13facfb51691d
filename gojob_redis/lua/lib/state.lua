-- The state of one call: what its fragments have read, and what they want written. It lives in locals of the script, so
-- each call begins with nothing, and a call that fails before its end has changed no record.
--
-- What is read is kept, so that no key is read twice: `records`, `lanes`, `lane_ids`, `sessions` and `gateways` hold it
-- by its id. What is to be written is gathered, and written once by the function in the last column. A verb calls
-- `settle` (lib/match.lua) at its end: it writes what was given back and enqueued, binds what can be bound, and then
-- writes the rest. The due index is written before it, by `settle_due`, because nothing there can be bound. A verb that
-- binds nothing calls the functions of what it fills. A test compares each verb with this table.
--
-- | state                                   | filled by                         | written by       |
-- |-----------------------------------------|-----------------------------------|------------------|
-- | records new_records unwritten replaced  | put make replace                  | settle_records   |
-- | lanes lane_ids queued touched           | enqueue touch                     | settle_lanes     |
-- | sessions gateways                       | take_seat give_seat turn_on       | settle_seats     |
-- | timers armed disarmed announced         | set_timer watch arm disarm        | settle_timers    |
-- | inboxes inbox_bytes sync_requested      | tell                              | settle_inboxes   |
-- | hints_for answers                       | tell                              | the reply        |
-- | histories failures pins                 | file                              | settle_filed     |
-- | faults                                  | tell_fault                        | settle_faults    |
-- | tallied                                 | happened                          | settle_tally     |
-- | due_added                               | add_due touch_due                 | settle_due       |
-- | counted changed_apps                    | event                             | event            |
-- | walks_through                           | tell_went_back                    | tell_went_back   |
-- | bound unfinished                        | bind                              | the reply        |
local records = {}
local new_records = {}
local unwritten = {}
local replaced = {}
local lanes = {}
local lane_ids = {}
local queued = {}
local touched = {}
local sessions = {}
local gateways = {}
local timers = {}
local armed = {}
local disarmed = {}
local announced = false
local inboxes = {}
local inbox_bytes = 0
local sync_requested = {}
local hints_for = nil
local answers = {}
local histories = {}
local failures = {}
local pins = {}
local faults = {}
local tallied = {}
local due_added = {}
local counted = {}
local changed_apps = {}
local walks_through = {}
local bound = 0
local unfinished = false
