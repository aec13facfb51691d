-- What happened in this call, for the statistics. A script adds nothing up: it writes down what it did, once, in the
-- partition's stream `tally`. A trigger replica reads that every 2 s, adds it up, and takes it away (`lua/fold.lua`).
--
-- An entry is one text: the wall time, then for each handler \30 and its name, and for each thing that happened there
-- \31 and an item. The first letter of an item says what it is; `domain/tally.py` reads them.
--
-- | item                               | what happened                                                               |
-- |------------------------------------|-----------------------------------------------------------------------------|
-- | u                                  | a task was submitted                                                        |
-- | f<lateness>                        | a slot was fired so late, ms                                                |
-- | k<why> <uid> <slot>                | a slot was skipped                                                          |
-- | m<count> <uid> <slot>              | so many slots were missed and share one entry of the ledger; the newest     |
-- | b                                  | an attempt began                                                            |
-- | b<wait>                            | the same, the first of its task, which could have begun so long before, ms  |
-- | r<reason>                          | an attempt failed, and is tried again                                       |
-- | s                                  | an attempt that had begun is over, but not its task                         |
-- | p<task> <failure>                  | an attempt failed like others: digest \29 type \29 message \29 specs         |
-- | l                                  | a run lost its worker                                                       |
-- | j                                  | a worker refused a run                                                      |
-- | o                                  | no worker began a run that was bound                                        |
-- | e<state> <task> <made> <started> <reason> | a task ended: c completed, f faulted, x canceled; in capitals if an  |
-- |                                    | attempt ended with it                                                       |
-- | d<count>                           | so many ended tasks were forgotten                                          |
--!include lib/state.lua
--!include limits
local function happened(handler, what)
  local items = tallied[handler]
  if not items then
    items = {handler}
    tallied[handler] = items
  end
  items[#items + 1] = what
end

local END_LETTER = {run_to_completion = 'ec ', faulted = 'ef ', canceled = 'ex '}
local RUNNING_END_LETTER = {run_to_completion = 'eC ', faulted = 'eF ', canceled = 'eX '}

-- The end of a task as one item; `was` is the state before.
local function end_of(fields, was, reason)
  local letters = was == 'running' and not fields.shards and RUNNING_END_LETTER or END_LETTER
  return letters[fields.state] .. fields.run .. ' ' .. (fields.made or '0') .. ' ' .. (fields.started or '0')
    .. ' ' .. reason
end

local function settle_tally()
  local parts = {int(wall)}
  for _, items in pairs(tallied) do parts[#parts + 1] = table.concat(items, '\31') end
  if #parts == 1 then return end -- guard: what did nothing leaves nothing
  redis.call('XADD', key.tally, 'MAXLEN', '~', limits.TALLY_ENTRIES, '*', 't', table.concat(parts, '\30'))
  tallied = {}
end
