-- Deletes reports of one epoch, and the epoch from the fence. KEYS: the prefix of the fleet's keys and that of all
-- keys, with their colons. ARGV: version of the data, the epoch in 19 digits, ids of reports. Reports of other epochs are skipped. Returns the number of
-- deleted reports. As in record.lua, all keys are read before
-- the first write.
local P, VERSION, EPOCH = KEYS[1], ARGV[1], ARGV[2]
local call, sub = redis.call, string.sub

local version = call('HGET', KEYS[2] .. 'meta', 'version')
if version and version ~= VERSION then
    return redis.error_reply('VERSION ' .. version)
end

local function padded(number, width)
    return string.rep('0', width - #number) .. number
end

-- Returns the beginning of an hour in microseconds, as the beginning of a member of `times`.
local function edge(hour)
    return string.format('%012d', hour * 3600) .. '000000'
end

for _, name in ipairs({'times', 'fence', 'hours'}) do
    call('ZCARD', P .. name)
end
call('XLEN', P .. 'reports')
local latest_of = {}
local latest = call('HGETALL', P .. 'latest')
for at = 1, #latest, 2 do latest_of[latest[at]] = latest[at + 1] end

local ids, members, keys, hours, latest_gone = {}, {}, {}, {}, {}
for at = 3, #ARGV do
    local id = ARGV[at]
    local entry = call('XRANGE', P .. 'reports', id .. '-0', id .. '-0')[1]
    local report = {}
    for place = 1, entry and #entry[2] or 0, 2 do report[entry[2][place]] = entry[2][place + 1] end
    if report.epoch and report.cycle and padded(report.epoch, 19) == EPOCH then
        local kind = call('HGET', P .. 'kinds', (report.quantity or '') .. '\0' .. (report.unit or '')) or ''
        local time, cycle = padded(report.time, 18), padded(report.cycle, 19)
        local member = time .. ':' .. padded(id, 16) .. ':' .. kind
        ids[#ids + 1], members[#members + 1] = id .. '-0', member
        local bucket = P .. 'keys:' .. EPOCH .. ':' .. (report.unit or '') .. ':' .. sub(cycle, 1, 17)
        call('HLEN', bucket)
        keys[#keys + 1] = {bucket, sub(cycle, 18)}
        if latest_of[kind] == member then latest_gone[#latest_gone + 1] = kind end
        local seconds = tonumber(sub(time, 1, 12))
        local hour = math.floor(seconds / 3600)
        if not hours[hour] then
            call('HLEN', P .. 'hour:' .. hour)
            call('HLEN', P .. 'minutes:' .. hour)
            hours[hour] = {}
        end
        hours[hour][string.format('%02d', math.floor(seconds % 3600 / 60))] = true
    end
end
-- The other epochs, the highest first, and the first cycle of each.
local others = {}
for _, epoch in ipairs(call('ZREVRANGEBYLEX', P .. 'epochs', '+', '-')) do
    local first = call('HGET', P .. 'epoch:' .. epoch, 'first')
    if epoch ~= EPOCH and first then others[#others + 1] = {epoch, first} end
end

-- Writing starts here.
if #ids > 0 then
    call('ZREM', P .. 'times', unpack(members))
end
for _, id in ipairs(ids) do call('XDEL', P .. 'reports', id) end
for _, key in ipairs(keys) do call('HDEL', key[1], key[2]) end
for _, kind in ipairs(latest_gone) do call('HDEL', P .. 'latest', kind) end
for hour, minutes in pairs(hours) do
    if #call('ZRANGEBYLEX', P .. 'times', '[' .. edge(hour), '(' .. edge(hour + 1), 'LIMIT', 0, 1) == 0 then
        call('DEL', P .. 'hour:' .. hour, P .. 'minutes:' .. hour)
        call('ZREM', P .. 'hours', hour)
    else
        -- The sums still contain the deleted reports, so the remaining reports are read one by one.
        call('HSET', P .. 'hour:' .. hour, '!', '1')
        for minute in pairs(minutes) do call('HSET', P .. 'minutes:' .. hour, minute .. '!', '1') end
    end
end
call('ZREM', P .. 'epochs', EPOCH)
call('DEL', P .. 'epoch:' .. EPOCH)
-- The fence contains the epochs that no later epoch began before; see record.lua.
call('DEL', P .. 'fence')
local lowest
for _, other in ipairs(others) do
    if not lowest or other[2] <= lowest then
        lowest = other[2]
        call('ZADD', P .. 'fence', 0, other[1] .. ':' .. other[2])
    end
end
return #ids
