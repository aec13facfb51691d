-- What a slot needs to know of its trigger, in one field `facts`: to read them one by one was a third of its cost.
--
-- It says the trigger's own fields again, as they were at a revision. Facts of another revision are made from the
-- fields, and so are those that nobody could have written: what a task gets from its trigger is never looked at again
-- before it is used, and a word that no session could ever offer would make tasks that wait for ever.
--!include lib/words.lua
--!include lib/hash.lua
--!include lib/policies.lua
local FACTS = {'revision', 'app', 'handler', 'name', 'labels', 'attribute', 'policies', 'shards', 'param_size'}
local LAWFUL = '^(%d+)\31([%w._-]+/[%w._-]+)\31([%w._-]+/[%w._-]+/[%w._-]+)\31([%w._-]+)\31([^\31]*)\31([^\31]*)'
  .. '\31([^\31]*)\31(%d+)\31(%d+)$'

-- "k=v,k=v", or nothing.
local function are_pairs(text)
  return text == '' or string.gsub(text .. ',', '[%w._/-]+=[%w._/-]+,', '') == ''
end

-- What the facts say; nil when they are of another revision or not lawful.
local function facts_in(text, expected)
  local revision, app, handler, name, labels, attribute, policies, shards, param_size = string.match(text or '', LAWFUL)
  if revision ~= expected -- guard: facts of another revision are not what was defined
    or not are_pairs(labels) -- guard: required labels that are no pairs fire nothing
    or not are_pairs(attribute) then return nil end
  policies = policies_in(policies)
  if not policies then return nil end -- guard: policies that nobody could have written fire nothing
  return {app = app, handler = handler, name = name, labels = labels, attribute = attribute, policies = policies,
    shards = tonumber(shards), param_size = tonumber(param_size)}
end

-- The facts made from the fields, and kept when they are lawful. A field that is gone is not nothing: without its
-- labels a task would go where it was never meant to.
local function facts_anew(uid, revision)
  local values = read_hash(key.trigger(uid), unpack(FACTS))
  for i = 1, #FACTS do
    if not values[i] then return nil end -- guard: a trigger whose fields are gone fires nothing
  end
  local text = table.concat(values, '\31')
  local facts = facts_in(text, revision)
  if facts then redis.call('HSET', key.trigger(uid), 'facts', text) end
  return facts
end
