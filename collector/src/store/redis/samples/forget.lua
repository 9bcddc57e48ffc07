-- Deletes a node with all of its data. KEYS[1]: the prefix with its colon. ARGV: version of the data, fleet, node. Returns 1,
-- or 0 if the node is unknown.
local P, VERSION, FLEET, NODE = KEYS[1] .. 'm:', ARGV[1], ARGV[2], ARGV[3]
local call = redis.call

local version = call('HGET', KEYS[1] .. 'meta', 'version')
if version and version ~= VERSION then
    return redis.error_reply('VERSION ' .. version)
end
local name = FLEET .. '\0' .. NODE
local node = call('HGET', P .. 'nodes', name)
if not node then return 0 end
local series = call('HVALS', P .. 'series:' .. node)
for _, id in ipairs(series) do
    for _, kind in ipairs({{'raw:', 'raws:'}, {'minutes:', 'minutes:'}}) do
        for _, hour in ipairs(call('ZRANGE', P .. kind[2] .. id, 0, -1)) do
            call('UNLINK', P .. kind[1] .. id .. ':' .. hour)
        end
        call('UNLINK', P .. kind[2] .. id)
    end
    call('UNLINK', P .. 'hours:' .. id)
    call('ZREM', P .. 'all', id .. ':' .. node)
end
for _, boot in ipairs(call('HVALS', P .. 'boots:' .. node)) do
    call('UNLINK', P .. 'marks:' .. string.match(boot, '^%d+'))
end
call('UNLINK', P .. 'series:' .. node, P .. 'boots:' .. node, P .. 'latest:' .. node)
call('HDEL', P .. 'nodes', name)
if call('HINCRBY', P .. 'fleets', FLEET, -#series) <= 0 then call('HDEL', P .. 'fleets', FLEET) end
return 1
