-- Numbers in base 36, as ids write them (domain/ids.py).
--!include keys
local DIGITS = '0123456789abcdefghijklmnopqrstuvwxyz'

-- Remembered, because the slots of a crowd are mostly one moment.
local in_base36 = {}
local function base36(number)
  local text, rest = in_base36[number], number
  if text then return text end -- equivalent if false: what is remembered is what would be computed
  text = ''
  while rest > 0 do
    local digit = rest % 36
    text = string.sub(DIGITS, digit + 1, digit + 1) .. text
    rest = (rest - digit) / 36
  end
  in_base36[number] = text
  return text
end

-- The partition's two digits in task ids; its tag begins with its number.
local PARTITION = base36(36 * 36 + tonumber(string.sub(P, 3, 4))):sub(2)
