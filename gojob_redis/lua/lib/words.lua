-- Small words the other fragments share: whole numbers as text, lists as text, base 36.
local function int(number)
  return string.format('%.0f', number)
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
