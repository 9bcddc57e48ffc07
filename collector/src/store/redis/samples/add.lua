-- Adds the new samples of batches, in their order. KEYS[1]: the prefix with its colon. ARGV: version of the data, the
-- maximum numbers of series of a fleet, of fleets and of boots of a node, number of batches, then the batches as samples/mod.rs
-- formats them. Returns for each series of each batch: its number, the number of the boot, and one letter per sample: `+` for
-- accepted, `-` for a number that is not above the mark, `x` if the series may not exist.
--
-- As in record.lua, all keys are read before the first write. Numbers of samples are text of fixed width.
local P, VERSION, MAX_SERIES, MAX_FLEETS, MAX_BOOTS, BATCHES = KEYS[1] .. 'm:', ARGV[1], tonumber(ARGV[2]),
    tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local call = redis.call

local version = call('HGET', KEYS[1] .. 'meta', 'version')
if version and version ~= VERSION then
    return redis.error_reply('VERSION ' .. version)
end
local last = call('HMGET', P .. 'last', 'node', 'series', 'boot')
for place = 1, 3 do last[place] = tonumber(last[place] or '0') end
local fleets_known = call('HLEN', P .. 'fleets')
call('HLEN', P .. 'nodes')
call('ZCARD', P .. 'all')

local results, nodes, fleets, raws, sums = {}, {}, {}, {}, {}

local function number(place)
    last[place] = last[place] + 1
    return string.format('%d', last[place])
end

local function get(key, field, exists)
    return exists and call('HGET', key, field) or nil
end

local function find_fleet(name)
    if not fleets[name] then
        local read = call('HGET', P .. 'fleets', name)
        fleets[name] = {series = tonumber(read or '0'), may_exist = read and true or fleets_known < MAX_FLEETS}
        if not read and fleets[name].may_exist then fleets_known = fleets_known + 1 end
    end
    return fleets[name]
end

local function find_node(fleet, name)
    local key = fleet .. '\0' .. name
    if not nodes[key] then
        local id = call('HGET', P .. 'nodes', key)
        nodes[key] = {id = id, known = id and true, series = {}, boots = {}}
        if id then
            for _, kind in ipairs({'series:', 'boots:', 'latest:'}) do call('HLEN', P .. kind .. id) end
        end
    end
    return nodes[key]
end

local function find_series(fleet, node, key)
    local own = node.series[key]
    if own == nil then
        local id = get(P .. 'series:' .. (node.id or ''), key, node.known)
        if id then
            own = {id = id}
            local latest = call('HGET', P .. 'latest:' .. node.id, id)
            local boot, time, clock = string.match(latest or '', '^(%d+) (%d+) (%d) ')
            if boot then own.latest = {boot = boot, time = tonumber(time), clock = clock} end
        elseif fleet.may_exist and fleet.series < MAX_SERIES then
            own = {id = number(2), is_new = true}
            fleet.series, fleet.changed = fleet.series + 1, true
            node.id = node.id or number(1)
        else
            own = false
        end
        node.series[key] = own
    end
    return own
end

local function find_boot(node, name, received)
    if not node.boots[name] then
        local read = get(P .. 'boots:' .. node.id, name, node.known)
        if read then
            local id, at = string.match(read, '^(%d+) (%d+)$')
            node.boots[name] = {id = id, received = tonumber(at), known = true, marks = {}}
            call('HLEN', P .. 'marks:' .. id)
        else
            node.boots[name] = {id = number(3), received = 0, marks = {}}
        end
    end
    return node.boots[name]
end

local function mark_of(boot, series)
    if boot.marks[series.id] == nil then
        boot.marks[series.id] = get(P .. 'marks:' .. boot.id, series.id, boot.known) or false
    end
    return boot.marks[series.id]
end

local function add_raw(series, hour, record)
    local key = P .. 'raw:' .. series .. ':' .. hour
    local raw = raws[key]
    if not raw then
        call('STRLEN', key)
        raw = {series = series, hour = hour, new = not call('ZSCORE', P .. 'raws:' .. series, hour)}
        raws[key] = raw
    end
    raw[#raw + 1] = record
end

local function add_sum(key, field, value, text, clock)
    local name = key .. '\n' .. field
    local sum = sums[name]
    if not sum then
        sum = {key = key, field = field, count = 0, sum = 0, least = text, most = text, clock = clock}
        local read = call('HGET', key, field)
        if read then
            local count, total, least, most, worst = string.match(read, '^(%S+) (%S+) (%S+) (%S+) (%S+)$')
            sum.count, sum.sum, sum.least, sum.most, sum.clock = tonumber(count), tonumber(total), least, most, worst
        end
        sum.low, sum.high = tonumber(sum.least), tonumber(sum.most)
        sums[name] = sum
    end
    sum.count, sum.sum = sum.count + 1, sum.sum + value
    if value < sum.low then sum.low, sum.least = value, text end
    if value > sum.high then sum.high, sum.most = value, text end
    if clock > sum.clock then sum.clock = clock end
end

-- The same rule as Position::supersedes.
local function supersedes(boot, time, clock, latest)
    return not latest or boot == latest.boot or clock == '2' or latest.clock == '2' or time >= latest.time
end

local at = 6
for _ = 1, BATCHES do
    local fleet_name, node_name, boot_name, received, count = unpack(ARGV, at, at + 4)
    at = at + 5
    local fleet, node = find_fleet(fleet_name), find_node(fleet_name, node_name)
    for _ = 1, tonumber(count) do
        local key, unit, samples = unpack(ARGV, at, at + 2)
        at = at + 3
        samples = tonumber(samples)
        local series = find_series(fleet, node, key)
        if not series then
            results[#results + 1] = {'0', '0', string.rep('x', samples)}
            at = at + 6 * samples
        else
            local boot = find_boot(node, boot_name, received)
            local mark, letters = mark_of(boot, series), {}
            local packed = struct.pack('>I4', tonumber(boot.id))
            for place = 1, samples do
                local seq, time, minute, value, clock, record = unpack(ARGV, at, at + 5)
                at = at + 6
                if mark and seq <= mark then
                    letters[place] = '-'
                else
                    mark, letters[place] = seq, '+'
                    local millis, real = tonumber(time), tonumber(value)
                    local hour = string.format('%d', math.floor(millis / 3600000))
                    add_raw(series.id, hour, packed .. record)
                    add_sum(P .. 'minutes:' .. series.id .. ':' .. hour, minute, real, value, clock)
                    add_sum(P .. 'hours:' .. series.id, hour, real, value, clock)
                    if supersedes(boot.id, millis, clock, series.latest) then
                        series.latest = {boot = boot.id, time = millis, clock = clock,
                            text = table.concat({boot.id, time, clock, received, value, unit}, ' ')}
                    end
                    boot.changed, boot.received = true, math.max(boot.received, tonumber(received))
                end
            end
            boot.marks[series.id] = mark
            results[#results + 1] = {series.id, boot.id, table.concat(letters)}
        end
    end
end

-- Writing starts here.
for name, fleet in pairs(fleets) do
    if fleet.changed then call('HSET', P .. 'fleets', name, fleet.series) end
end
for name, node in pairs(nodes) do
    if node.id and not node.known then call('HSET', P .. 'nodes', name, node.id) end
    for key, series in pairs(node.series) do
        if series and series.is_new then
            call('HSET', P .. 'series:' .. node.id, key, series.id)
            call('ZADD', P .. 'all', series.id, series.id .. ':' .. node.id)
        end
        if series and series.latest and series.latest.text then
            call('HSET', P .. 'latest:' .. node.id, series.id, series.latest.text)
        end
    end
    for boot_name, boot in pairs(node.boots) do
        if boot.changed then
            call('HSET', P .. 'boots:' .. node.id, boot_name, boot.id .. ' ' .. string.format('%d', boot.received))
            for series, mark in pairs(boot.marks) do
                if mark then call('HSET', P .. 'marks:' .. boot.id, series, mark) end
            end
            if not boot.known and call('HLEN', P .. 'boots:' .. node.id) > MAX_BOOTS then
                local all, oldest = call('HGETALL', P .. 'boots:' .. node.id), nil
                for place = 1, #all, 2 do
                    local id, received = string.match(all[place + 1], '^(%d+) (%d+)$')
                    id, received = tonumber(id), tonumber(received)
                    if all[place] ~= boot_name and (not oldest or received < oldest.received
                        or (received == oldest.received and id < oldest.id)) then
                        oldest = {name = all[place], id = id, received = received}
                    end
                end
                call('HDEL', P .. 'boots:' .. node.id, oldest.name)
                call('DEL', P .. 'marks:' .. string.format('%d', oldest.id))
            end
        end
    end
end
for key, raw in pairs(raws) do
    call('APPEND', key, table.concat(raw))
    if raw.new then call('ZADD', P .. 'raws:' .. raw.series, raw.hour, raw.hour) end
    call('ZADD', P .. 'minutes:' .. raw.series, raw.hour, raw.hour)
end
for _, sum in pairs(sums) do
    call('HSET', sum.key, sum.field,
        string.format('%d %.17g %s %s %s', sum.count, sum.sum, sum.least, sum.most, sum.clock))
end
if next(raws) then
    call('HSET', P .. 'last', 'node', string.format('%d', last[1]), 'series', string.format('%d', last[2]), 'boot',
        string.format('%d', last[3]))
    if not version then call('HSET', KEYS[1] .. 'meta', 'version', VERSION) end
end
return results
