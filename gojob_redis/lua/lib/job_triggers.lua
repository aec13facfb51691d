-- A job on triggers: those with the ids it was given, `namespace/app/name`, or those of its apps whose cards its filter
-- lets through. Conditions are those of a list of triggers: handler, owner, prefix, state, and q, a text in any of them.
--!include limits
--!include lib/agenda.lua
--!include lib/card.lua
--!include lib/filter.lua
--!include lib/job.lua
local triggers = {conditions = conditions_in(conditions)}
triggers.states = triggers.conditions.state and words_in(triggers.conditions.state)

function triggers.passes(name, card)
  local asked = triggers.conditions
  local _, state, handler, owner, rule = string.match(card, '^([^\31]*)\31([^\31]*)\31([^\31]*)\31([^\31]*)\31([^\31]*)')
  return state ~= nil and (not asked.handler or asked.handler == handler) and (not asked.owner or asked.owner == owner)
    and (not triggers.states or triggers.states[state] == true)
    and (not asked.q or string.find(string.lower(table.concat({name, handler, owner, rule}, '\n')), asked.q, 1, true) ~= nil)
end

-- act: does the work on one trigger, and tallies it; false when it has to wait.
function triggers.take_up(app, name, act)
  local id = app .. '/' .. name
  local uid, card = named(app, name)
  local facts = uid and read_hash(key.trigger(uid), 'made', 'active', 'state')
  if not facts then
    progress.count('skipped', id, 'gone')
  elseif (tonumber(facts[1] or nil) or 0) > as_of then -- guard: a trigger that came after the job is not its
    progress.count('skipped', id, 'too_new')
  elseif facts[2] ~= '1' and facts[2] ~= '0' then -- equivalent if without 2: of a trigger that does not fire it is 0
    progress.count('skipped', id, facts[2] == 'corrupt' and 'corrupt' or 'later')
  else
    progress.worked = progress.worked + 1
    return act(app, name, uid, id, card)
  end
  return true
end

-- Goes through the names of an app behind a place; returns whether that was all of them, and the last.
function triggers.walk(app, place, act)
  local prefix = triggers.conditions.prefix or ''
  while progress.has_room() do
    local from = place == '' and '[' .. prefix or '(' .. place
    local names = redis.call('ZRANGE', key.trigger_names(app), from, '[' .. prefix .. '\255', 'BYLEX', 'LIMIT', 0, limits.WALK_PAGE)
    for _, name in ipairs(names) do
      if not progress.has_room() then return false, place end
      progress.looked = progress.looked + 1
      local _, card = named(app, name)
      if card and triggers.passes(name, card) and triggers.take_up(app, name, act) == false then return false, place end
      place = name
    end
    if #names < limits.WALK_PAGE then return true, '' end
  end
  return false, place
end

function triggers.run(act)
  progress.units(first, last, function(unit)
    if walks == 1 then
      local is_whole, place = triggers.walk(unit, progress.place, act)
      progress.place = place
      return is_whole
    end
    local app, name = string.match(unit, '^([^/]+/[^/]+)/([^/]+)$')
    progress.looked = progress.looked + 1
    if not progress.has_room_for_work() then return false end
    if not app or string.sub(unit, 1, #scope) ~= scope then -- guard: a job reaches no trigger outside of where it may
      progress.count('skipped', unit, 'gone')
      return true
    end
    return triggers.take_up(app, name, act) ~= false
  end)
end
