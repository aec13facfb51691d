-- What a read answers; of a key that somebody made something else of, what stands for nothing.
local function sound(answer, nothing)
  if type(answer) == 'table' and answer.err then return nothing end
  return answer
end
