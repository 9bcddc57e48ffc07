-- Replaces the oldest reports by sums per hour, and their keys by intervals of cycles.
-- KEYS: the prefix of the fleet's keys and that of all keys, with their colons. ARGV: version of the data, time before which reports are replaced, first hour whose
-- sums stay ('' to keep all), maximum number of reports and of hours. Returns the numbers of replaced reports and of
-- deleted hours. As in record.lua, all keys are read before the first write. Deletions come first: they free the memory
-- without which Redis would refuse the other writes.
local P, VERSION, HORIZON, HOURS, MOST = KEYS[1], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local call, sub = redis.call, string.sub

local version = call('HGET', KEYS[2] .. 'meta', 'version')
if version and version ~= VERSION then
    return redis.error_reply('VERSION ' .. version)
end

-- Returns the number that follows a number of 19 digits.
local function after(number)
    local low = tonumber(sub(number, 11)) + 1
    if low < 1e9 then
        return sub(number, 1, 10) .. string.format('%09d', low)
    end
    return string.format('%010d', tonumber(sub(number, 1, 10)) + 1) .. '000000000'
end

local function padded(number)
    return string.rep('0', 19 - #number) .. number
end

-- Returns the beginning of an hour in microseconds, as the beginning of a member of `times`.
local function edge(hour)
    return string.format('%012d', hour * 3600) .. '000000'
end

local members = call('ZRANGEBYLEX', P .. 'times', '-', '(' .. HORIZON, 'LIMIT', 0, MOST)
call('XLEN', P .. 'reports')
call('ZCARD', P .. 'hours')
call('ZCARD', P .. 'old')
call('HLEN', P .. 'latest')
local ids, keys, lines, hours, sums, latest, begun = {}, {}, {}, {}, {}, {}, {}
for _, member in ipairs(members) do
    local id, kind = tonumber(sub(member, 20, 35)), sub(member, 37)
    local name = string.format('%d-0', id)
    local entry = call('XRANGE', P .. 'reports', name, name)[1]
    if entry then
        local report = {}
        for at = 1, #entry[2], 2 do report[entry[2][at]] = entry[2][at + 1] end
        ids[#ids + 1] = name
        if report.epoch and report.cycle then
            local line, cycle = padded(report.epoch) .. ':' .. (report.unit or ''), padded(report.cycle)
            local bucket = P .. 'keys:' .. line .. ':' .. sub(cycle, 1, 17)
            call('HLEN', bucket)
            keys[#keys + 1] = {bucket, sub(cycle, 18)}
            if not lines[line] then
                call('ZCARD', P .. 'gone:' .. line)
                lines[line] = {}
            end
            table.insert(lines[line], cycle)
            local epoch = P .. 'epoch:' .. padded(report.epoch)
            local first = call('HMGET', epoch, 'first', 'began')
            if first[1] == cycle and first[2] == sub(member, 1, 18) then begun[epoch] = true end
        end
        local seconds = tonumber(sub(member, 1, 12))
        local hour = math.floor(seconds / 3600)
        if not hours[hour] then
            call('HLEN', P .. 'hour:' .. hour)
            call('HLEN', P .. 'minutes:' .. hour)
            hours[hour], sums[hour] = {}, {}
        end
        hours[hour][string.format('%02d', math.floor(seconds % 3600 / 60))] = true
        local sum = sums[hour][kind]
        local least, most = report.min or report.mean, report.max or report.mean
        if not sum then
            sum = {reports = 0, sum = 0, least = least, most = most}
            local read = call('HGET', P .. 'old:' .. hour, kind)
            if read then moments.read(sum, read) end
            -- The reports behind a sum of an earlier version are gone, so the moments are those of the others.
            if not sum.n then sum.n, sum.mean, sum.squares = 0, 0, 0 end
            sums[hour][kind] = sum
        end
        sum.reports = sum.reports + 1
        sum.sum = sum.sum + tonumber(report.mean)
        if tonumber(least) < tonumber(sum.least) then sum.least = least end
        if tonumber(most) > tonumber(sum.most) then sum.most = most end
        moments.add(sum, moments.of(report.mean, report.stddev, report.count, report.aggregate))
    end
    if call('HGET', P .. 'latest', kind) == member then latest[#latest + 1] = kind end
end

if #members > 0 then
    call('ZREM', P .. 'times', unpack(members))
end
for _, id in ipairs(ids) do call('XDEL', P .. 'reports', id) end
for _, key in ipairs(keys) do call('HDEL', key[1], key[2]) end
for epoch in pairs(begun) do call('HDEL', epoch, 'began') end
for _, kind in ipairs(latest) do call('HDEL', P .. 'latest', kind) end
for hour, minutes in pairs(hours) do
    if #call('ZRANGEBYLEX', P .. 'times', '[' .. edge(hour), '(' .. edge(hour + 1), 'LIMIT', 0, 1) == 0 then
        call('DEL', P .. 'hour:' .. hour, P .. 'minutes:' .. hour)
        call('ZREM', P .. 'hours', hour)
    else
        -- The sums still contain the replaced reports, so the remaining reports of the hour are read one by one.
        call('HSET', P .. 'hour:' .. hour, '!', '1')
        for minute in pairs(minutes) do call('HSET', P .. 'minutes:' .. hour, minute .. '!', '1') end
    end
    call('ZADD', P .. 'old', hour, hour)
    for kind, sum in pairs(sums[hour]) do
        call('HSET', P .. 'old:' .. hour, kind,
            moments.format(sum))
    end
end

-- Adds an interval to those of an epoch and unit, and merges it with adjacent ones.
local function insert(key, first, last)
    while true do
        local span = call('ZREVRANGEBYLEX', key, '[' .. after(last) .. ':~', '-', 'LIMIT', 0, 1)[1]
        if not span or after(sub(span, 21)) < first then break end
        call('ZREM', key, span)
        if sub(span, 1, 19) < first then first = sub(span, 1, 19) end
        if sub(span, 21) > last then last = sub(span, 21) end
    end
    call('ZADD', key, 0, first .. ':' .. last)
end

for line, cycles in pairs(lines) do
    table.sort(cycles)
    local first, last = cycles[1], cycles[1]
    for _, cycle in ipairs(cycles) do
        if cycle > after(last) then
            insert(P .. 'gone:' .. line, first, last)
            first = cycle
        end
        last = cycle
    end
    insert(P .. 'gone:' .. line, first, last)
end

local forgotten = {}
if HOURS ~= '' then
    forgotten = call('ZRANGEBYSCORE', P .. 'old', '-inf', '(' .. HOURS, 'LIMIT', 0, MOST)
    for _, hour in ipairs(forgotten) do
        call('ZREM', P .. 'old', hour)
        call('DEL', P .. 'old:' .. hour)
    end
end
return {#members, #forgotten}
