-- Adds the new samples of batches, in their order, if the marks of all series are below them. KEYS[1]: the prefix with its
-- colon. ARGV: version of the data, the maximum numbers of series of a fleet, of fleets and of boots of a node, number of
-- batches, then the batches as samples/mod.rs formats them: the samples of an hour are one text, and sums are computed by the
-- collector. Returns 1, or 0 if a mark is not below the samples, so that nothing was added; and for each series of each batch
-- its number, the number of the boot, and its mark before the batch (`x`: the series may not exist). The caller removes the
-- samples that are not above the marks, and tries again.
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
-- Pattern of a sample: 25 bytes.
local SAMPLE = string.rep('.', 25)

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

-- Adds the samples of an hour. Each becomes a record with the number of its boot before it.
local function add_raw(series, hour, boot, samples)
    local key = P .. 'raw:' .. series .. ':' .. hour
    local raw = raws[key]
    if not raw then
        call('STRLEN', key)
        raw = {series = series, hour = hour, new = not call('ZSCORE', P .. 'raws:' .. series, hour)}
        raws[key] = raw
    end
    local packed = string.gsub(struct.pack('>I4', tonumber(boot)), '%%', '%%%%')
    raw[#raw + 1] = string.gsub(samples, SAMPLE, packed .. '%0')
end

local SUMS = '^(%S+) (%S+) (%S+) (%S+) (%S+)$'

local function merged(one, other)
    local count, sum, least, most, clock = string.match(one, SUMS)
    local count2, sum2, least2, most2, clock2 = string.match(other, SUMS)
    if tonumber(least2) < tonumber(least) then least = least2 end
    if tonumber(most2) > tonumber(most) then most = most2 end
    if clock2 > clock then clock = clock2 end
    return string.format('%d %.17g %s %s %s', count + count2, sum + sum2, least, most, clock)
end

local function add_sum(key, field, text)
    local name = key .. '\n' .. field
    local sum = sums[name]
    if not sum then
        sum = {key = key, field = field, text = call('HGET', key, field) or nil}
        sums[name] = sum
    end
    sum.text = sum.text and merged(sum.text, text) or text
end

-- The rule of Position::supersedes: true if it holds for any sample of a batch, and therefore for the last one.
local function supersede(boot, time, clock, latest)
    return not latest or boot == latest.boot or clock == '2' or latest.clock == '2' or tonumber(time) >= latest.time
end

local at, is_written = 6, 1
for _ = 1, BATCHES do
    local fleet_name, node_name, boot_name, received, count = unpack(ARGV, at, at + 4)
    at = at + 5
    local fleet, node = find_fleet(fleet_name), find_node(fleet_name, node_name)
    for _ = 1, tonumber(count) do
        local key, unit, first_seq, last_seq, time, clock, value, newest, worst = unpack(ARGV, at, at + 8)
        local hours, minutes = tonumber(ARGV[at + 9]), tonumber(ARGV[at + 10])
        at = at + 11
        local series, ends = find_series(fleet, node, key), at + 3 * (hours + minutes)
        if not series then
            results[#results + 1] = {'0', '0', 'x'}
        else
            local boot = find_boot(node, boot_name, received)
            local mark = mark_of(boot, series)
            results[#results + 1] = {series.id, boot.id, mark or ''}
            if first_seq ~= '' then
                if mark and first_seq <= mark then is_written = 0 end
                if not mark or last_seq > mark then boot.marks[series.id] = last_seq end
                boot.changed, boot.received = true, math.max(boot.received, tonumber(received))
                if supersede(boot.id, newest, worst, series.latest) then
                    series.latest = {boot = boot.id, time = tonumber(time), clock = clock,
                        text = table.concat({boot.id, time, clock, received, value, unit}, ' ')}
                end
            end
            for _ = 1, hours do
                local hour, samples, text = unpack(ARGV, at, at + 2)
                at = at + 3
                add_raw(series.id, hour, boot.id, samples)
                add_sum(P .. 'hours:' .. series.id, hour, text)
            end
            for _ = 1, minutes do
                local hour, minute, text = unpack(ARGV, at, at + 2)
                at = at + 3
                add_sum(P .. 'minutes:' .. series.id .. ':' .. hour, minute, text)
            end
        end
        at = ends
    end
end
if is_written == 0 then return {0, results} end

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
for _, sum in pairs(sums) do call('HSET', sum.key, sum.field, sum.text) end
if next(raws) then
    call('HSET', P .. 'last', 'node', string.format('%d', last[1]), 'series', string.format('%d', last[2]), 'boot',
        string.format('%d', last[3]))
    if not version then call('HSET', KEYS[1] .. 'meta', 'version', VERSION) end
end
return {1, results}
