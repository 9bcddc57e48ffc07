-- Records the new reports of a batch, in their order, and returns the outcome of each report.
-- KEYS: the prefix of the fleet's keys and that of all keys, with their colons. ARGV: version of the data, number of
-- reports, name of the fleet ('' for the fleet `default`), then WIDTH arguments per report.
--
-- The writes of a script that fails are not undone. Therefore all keys are read first, with commands of their types: data
-- of another program is found before the first write. A lack of memory or disk space is reported at the first write.
-- Numbers that may exceed 2^53 are text of fixed width, so that their order as text is their order as numbers.
local P, ROOT, VERSION, COUNT, NAME, WIDTH = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2]), ARGV[3], 21
local call, sub = redis.call, string.sub
local FIELDS = {'epoch', 'cycle', 'time', 'quantity', 'unit', 'mean', 'min', 'max', 'stddev', 'count', 'excluded',
    'received', 'reporter', 'aggregate'}

local meta = call('HMGET', ROOT .. 'meta', 'version', 'newest')
if meta[1] and meta[1] ~= VERSION then
    return redis.error_reply('VERSION ' .. meta[1])
end
local newest = tonumber(meta[2] or '0')
local kinds_known = call('HLEN', P .. 'kinds')
call('XLEN', P .. 'reports')
for _, name in ipairs({'times', 'epochs', 'fence', 'hours'}) do
    call('ZCARD', P .. name)
end
call('HLEN', P .. 'latest')
local is_new_fleet = NAME ~= '' and call('SISMEMBER', ROOT .. 'fleets', NAME) == 0

local results, additions, kept = {}, {}, {}
local kinds, new_kinds = {}, {}
local epochs, epoch_order = {}, {}
local sums, latest = {}, {}

-- Returns the later leader that reported the lowest cycle, and this cycle, if it is not above `cycle`.
local function stale(epoch, cycle)
    local first, later
    local member = call('ZRANGEBYLEX', P .. 'fence', '(' .. epoch .. ':~', '+', 'LIMIT', 0, 1)[1]
    if member then
        later, first = sub(member, 1, 19), sub(member, 21)
    end
    for _, other in ipairs(epoch_order) do
        local own = epochs[other].first
        if other > epoch and (not first or own < first or (own == first and other < later)) then
            later, first = other, own
        end
    end
    if first and first <= cycle then
        return later, first
    end
end

-- Returns the reason to refuse a report, if any.
local function refused(line, epoch, cycle, bucket)
    local field = sub(cycle, 18)
    local mean = kept[bucket .. field] or call('HGET', bucket, field)
    if mean then
        return {'kept', mean}
    end
    local span = call('ZREVRANGEBYLEX', P .. 'gone:' .. line, '[' .. cycle .. ':~', '-', 'LIMIT', 0, 1)[1]
    if span and sub(span, 21) >= cycle then
        return {'gone'}
    end
    local later, first = stale(epoch, cycle)
    if later then
        return {'stale', later, first}
    end
end

local function admit(epoch, cycle, time, received, reporter)
    local known = epochs[epoch]
    if not known then
        local read = call('HMGET', P .. 'epoch:' .. epoch, 'first', 'last', 'reports', 'began')
        known = {before = read[1], first = read[1] or cycle, last = read[2] or cycle, reports = tonumber(read[3] or '0'),
            began = read[4]}
        epochs[epoch] = known
        epoch_order[#epoch_order + 1] = epoch
    end
    if cycle < known.first then
        known.first, known.began = cycle, time
    elseif cycle == known.first and (not known.began or time < known.began) then
        known.began = time
    end
    if cycle > known.last then known.last = cycle end
    known.reports = known.reports + 1
    known.received, known.reporter = received, reporter
end

local function kind_number(kind)
    local number = kinds[kind] or call('HGET', P .. 'kinds', kind)
    if not number then
        kinds_known = kinds_known + 1
        number = tostring(kinds_known)
        new_kinds[#new_kinds + 1] = kind
    end
    kinds[kind] = number
    return number
end

local function padded(number, width)
    return string.rep('0', width - #number) .. number
end

-- Returns the order of a report among those of its kind: epoch and cycle, time and time of arrival, all of fixed width.
local function recency(id)
    local name = string.format('%d-0', tonumber(id))
    local entry = call('XRANGE', P .. 'reports', name, name)[1]
    if not entry then return nil end
    local report = {}
    for at = 1, #entry[2], 2 do report[entry[2][at]] = entry[2][at + 1] end
    local key = report.epoch and report.cycle and padded(report.epoch, 19) .. padded(report.cycle, 19)
    return {key = key, time = padded(report.time, 18), received = padded(report.received, 18)}
end

-- Returns true if a report that arrives now is the latest of its kind; recency.rs contains the same rule.
local function supersedes(own, other)
    if own.key and other.key then return own.key > other.key end
    local bound = other.time < other.received and other.time or other.received
    return own.time >= own.received or own.time >= bound
end

local function note_latest(number, own)
    local known = latest[number]
    if not known then
        local member = call('HGET', P .. 'latest', number)
        known = member and recency(sub(member, 20, 35))
    end
    if not known or supersedes(own, known) then known = own end
    latest[number] = known
end

local function add(key, field, mean, least, most, readings)
    local name = key .. '\n' .. field
    local sum = sums[name]
    if not sum then
        sum = {key = key, field = field, reports = 0, sum = 0, least = least, most = most, n = 0, mean = 0, squares = 0}
        local read = call('HGET', key, field)
        if read then moments.read(sum, read) end
        sums[name] = sum
    end
    sum.reports = sum.reports + 1
    sum.sum = sum.sum + tonumber(mean)
    if tonumber(least) < tonumber(sum.least) then sum.least = least end
    if tonumber(most) > tonumber(sum.most) then sum.most = most end
    moments.add(sum, readings)
end

for at = 4, 3 + COUNT * WIDTH, WIDTH do
    local line, epoch, cycle, time, kind, hour, minute = unpack(ARGV, at, at + 6)
    local report = at + 7
    local bucket = P .. 'keys:' .. line .. ':' .. sub(cycle, 1, 17)
    local why = line ~= '' and refused(line, epoch, cycle, bucket)
    if why then
        results[#results + 1] = why
    else
        newest = newest + 1
        local mean, least, most = ARGV[report + 5], ARGV[report + 6], ARGV[report + 7]
        if least == '' then least = mean end
        if most == '' then most = mean end
        local number = kind_number(kind)
        local member = time .. ':' .. string.format('%016d', newest) .. ':' .. number
        local addition = {id = newest, report = report, member = member}
        if line ~= '' then
            admit(epoch, cycle, time, ARGV[report + 11], ARGV[report + 12])
            kept[bucket .. sub(cycle, 18)] = mean
            addition.bucket, addition.field, addition.mean = bucket, sub(cycle, 18), mean
        end
        if not call('ZSCORE', P .. 'hours', hour) then addition.hour = hour end
        local readings = moments.of(mean, ARGV[report + 8], ARGV[report + 9], ARGV[report + 13])
        add(P .. 'hour:' .. hour, number, mean, least, most, readings)
        add(P .. 'minutes:' .. hour, minute .. ':' .. number, mean, least, most, readings)
        note_latest(number, {member = member, key = line ~= '' and epoch .. cycle or nil, time = time,
            received = padded(ARGV[report + 11], 18)})
        additions[#additions + 1] = addition
        results[#results + 1] = {'recorded', newest}
    end
end

-- Writing starts here. The stream is first: it refuses ids that are not above all previous ones.
for _, addition in ipairs(additions) do
    local words = {}
    for place, field in ipairs(FIELDS) do
        local value = ARGV[addition.report + place - 1]
        if value ~= '' then
            words[#words + 1] = field
            words[#words + 1] = value
        end
    end
    call('XADD', P .. 'reports', string.format('%d-0', addition.id), unpack(words))
    call('ZADD', P .. 'times', 0, addition.member)
    if addition.bucket then call('HSET', addition.bucket, addition.field, addition.mean) end
    if addition.hour then call('ZADD', P .. 'hours', addition.hour, addition.hour) end
end
for _, sum in pairs(sums) do
    call('HSET', sum.key, sum.field, moments.format(sum))
end
for number, own in pairs(latest) do
    -- An order that was read from the store has no member: its report stays the latest.
    if own.member then call('HSET', P .. 'latest', number, own.member) end
end
for _, kind in ipairs(new_kinds) do
    call('HSET', P .. 'kinds', kind, kinds[kind])
end
for _, epoch in ipairs(epoch_order) do
    local known = epochs[epoch]
    call('HSET', P .. 'epoch:' .. epoch, 'first', known.first, 'last', known.last, 'reports', known.reports,
        'received', known.received, 'reporter', known.reporter)
    if known.began then call('HSET', P .. 'epoch:' .. epoch, 'began', known.began) end
    if not known.before then call('ZADD', P .. 'epochs', 0, epoch) end
    if known.first ~= known.before then
        -- The fence contains only epochs that no later epoch began before. Therefore the next higher one decides.
        local fence, first = P .. 'fence', known.first
        call('ZREMRANGEBYLEX', fence, '[' .. epoch .. ':', '[' .. epoch .. ':~')
        local above = call('ZRANGEBYLEX', fence, '(' .. epoch .. ':~', '+', 'LIMIT', 0, 1)[1]
        if not above or sub(above, 21) >= first then
            call('ZADD', fence, 0, epoch .. ':' .. first)
            local below = call('ZREVRANGEBYLEX', fence, '(' .. epoch .. ':', '-', 'LIMIT', 0, 1)[1]
            while below and sub(below, 21) > first do
                call('ZREM', fence, below)
                below = call('ZREVRANGEBYLEX', fence, '(' .. epoch .. ':', '-', 'LIMIT', 0, 1)[1]
            end
        end
    end
end
if COUNT == 0 or #additions > 0 then
    if is_new_fleet then call('SADD', ROOT .. 'fleets', NAME) end
    call('HSET', ROOT .. 'meta', 'version', VERSION, 'newest', string.format('%d', newest))
end
return results
