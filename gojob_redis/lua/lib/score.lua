-- Where a run stands in its lane: the higher priority first, of one priority the earlier moment. The step is longer than
-- any moment in ms, so that one number says both; a score holds 15 digits exactly. Python says it in domain/score.py.
local function score_at(priority, at)
  return (9 - priority) * 1e13 + at
end

local function moment_in(score)
  return score % 1e13
end
