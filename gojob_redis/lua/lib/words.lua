-- Small words the other fragments share: whole numbers as text, lists as text, words of a later release.
-- Writing a number takes longer than reading a command's reply, and a call writes the same few ones again and again.
local written = {}
local function int(number)
  local text = written[number]
  if text then return text end -- equivalent if false: it is written once more; only the cost differs
  text = string.format('%.0f', number)
  written[number] = text
  return text
end

-- The number that a text stands for, and nil for another text; a call reads the same few again and again, too.
local numbers = {}
local function number_in(text)
  local value = numbers[text]
  if value or not text then return value end -- equivalent if without 1: it is read once more; only the cost differs
  value = tonumber(text)
  numbers[text] = value
  return value
end

local function split(text, mark)
  local parts = {}
  if not text then return parts end
  for part in string.gmatch(text, '[^' .. mark .. ']+') do parts[#parts + 1] = part end
  return parts
end

-- Calls a variadic command with a long argument list in pieces, below the limit of unpack; returns what it counted.
local function in_pieces(command, name, args)
  local counted = 0
  for first = 1, #args, 1000 do
    counted = counted + redis.call(command, name, unpack(args, first, math.min(first + 999, #args)))
  end
  return counted
end

-- What this release does not know, but could have been written on purpose: it is of a later release, which knows what to
-- do with it, and here it is left alone. Anything else that is not known is nonsense.
local function is_later_word(word, own_words)
  return word and not own_words[word] and string.find(word, '^%l[%l_]*$') ~= nil
end

-- A member of an index that names no run and no trigger, but something of another kind: `kind:name`.
local function is_later_member(member)
  return string.find(member, '^%l[%l_]*:') ~= nil
end
