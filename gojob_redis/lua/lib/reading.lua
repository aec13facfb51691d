-- What a script begins with that only reads: it moves no clock, and works on no data of another schema.
--!include keys
do
  local meta = redis.call('HMGET', key.meta, 'epoch', 'schema')
  if not meta[1] then return {'no_epoch'} end -- guard: nobody searches an emptied partition
  local schema = tonumber(meta[2] or nil) or 1
  -- guard: nobody searches data of another schema
  if schema ~= SCHEMA then return {schema > SCHEMA and 'newer_schema' or 'older_schema', schema} end
end
