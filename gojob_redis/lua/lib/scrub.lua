-- What every part of the scrubber uses: `scrub.<kind>(one, two, cursor)` looks at one key of a kind and returns the
-- cursor of its next page, nil when it is done. `checks` counts what was looked at, so that a call stays bounded.
--!include limits
local scrub = {}
local check = {} -- a function each: a script has 200 locals at most
local checks, mends = 0, 0

local function mend(what, id, why, app)
  mends = mends + 1
  event('mended', 'what', what, 'id', id, 'why', why, 'app', app or '')
end

-- Calls `visit(member, value)` for one page of a hash, set or sorted set.
local function page(command, name, cursor, visit)
  local answer = redis.call(command, name, cursor, 'COUNT', limits.SCRUB_PAGE)
  local step = command == 'SSCAN' and 1 or 2
  for i = 1, #answer[2], step do
    checks = checks + 1
    visit(answer[2][i], step == 2 and answer[2][i + 1] or nil)
  end
  return answer[1] ~= '0' and answer[1] or nil
end

local function is_there(name)
  return redis.call('EXISTS', name) == 1
end

local function drop(what, id, name, why, app)
  redis.call('UNLINK', name)
  mend(what, id, why, app)
end
