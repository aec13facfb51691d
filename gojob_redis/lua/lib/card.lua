-- The card of a trigger, by which it is found: what a list of many can be filtered by, in one text beside its name.
-- It repeats fields of the trigger, and is written where one of them changes. A slot that fires changes none.
--!include lib/hash.lua
local CARD_UID = '^[^\31]*'

local function card_of(uid)
  local facts = read_hash(key.trigger(uid), 'app', 'name', 'state', 'handler', 'owner', 'rule')
  local handler = string.match(facts[4] or '', '[^/]*$')
  return facts[1], facts[2], table.concat({uid, facts[3] or '', handler, facts[5] or '', facts[6] or ''}, '\31')
end

-- Writes it anew from the fields.
local function show_card(uid)
  local app, name, card = card_of(uid)
  if app and name then redis.call('HSET', key.triggers(app), name, card) end
end

-- The trigger that has a name, and its card.
local function named(app, name)
  local card = redis.call('HGET', key.triggers(app), name)
  return card and string.match(card, CARD_UID), card
end

local function set_state(uid, state)
  redis.call('HSET', key.trigger(uid), 'state', state)
  show_card(uid)
end
