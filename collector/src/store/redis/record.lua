-- Records reports, in their order, if none of them must be refused. Returns the newest id before them, or false; and for each
-- report that must be refused, its place and the reason. If there is any, nothing is recorded, and the caller tries again
-- without it. recording.rs decides which of the reports refuse one another, so that they need not be compared here.
--
-- KEYS: the prefix of the fleet's keys and that of all keys, with their colons. ARGV: version of the data; `record`, or
-- `check` to record nothing; name of the fleet ('' for the fleet `default`); four lists; and the reports. Lists and reports
-- are in MessagePack. A report is its time and the index of its kind, followed by the field names and values of its entry in
-- the stream. The lists are:
--   epochs: number, first cycle, its earliest time, last cycle, number of reports, time of arrival and reporter of the last
--   lines, one for each epoch and unit: name, index of the epoch, lowest and highest cycle, and for each bucket of 100 cycles
--     the beginning of its cycles, their last digits, these with the means, and the places of the reports
--   kinds: name, key and place of the report with the highest key, places of all reports; the first is '' if a report of the
--     kind has no key
--   hours: number, sums of the hour, sums of its minutes: each is the beginning of the field, index of the kind, number of
--     reports, sum, minimum, maximum, and number, mean and squares of the moments, '' if they are not known
--
-- The writes of a script that fails are not undone. Therefore all keys are read first, with commands of their types: data
-- of another program is found before the first write. A lack of memory or disk space is reported at the first write.
-- Numbers that may exceed 2^53 are text of fixed width, so that their order as text is their order as numbers. Calls of
-- Redis cost more than anything else here, so there is only one for each report.
local P, ROOT, VERSION, MODE, NAME = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
local call, sub, format, unpacked = redis.call, string.sub, string.format, cmsgpack.unpack
-- Lua puts at most 8,000 values on its stack.
local MAX_VALUES, FIRST = 4000, 8
local REPORTS = P .. 'reports'
local EPOCHS, LINES, KINDS, HOURS = unpacked(ARGV[4]), unpacked(ARGV[5]), unpacked(ARGV[6]), unpacked(ARGV[7])

local meta = call('HMGET', ROOT .. 'meta', 'version', 'newest')
if meta[1] and meta[1] ~= VERSION then
    return redis.error_reply('VERSION ' .. meta[1])
end
local newest = tonumber(meta[2] or '0')
local before = format('%d', newest)
call('XLEN', REPORTS)
call('ZCARD', P .. 'times')
if #ARGV < FIRST then
    -- With reports these keys are read where they are needed.
    for _, name in ipairs({'epochs', 'fence', 'hours'}) do call('ZCARD', P .. name) end
    for _, name in ipairs({'kinds', 'latest'}) do call('HLEN', P .. name) end
end
local is_new_fleet = NAME ~= '' and call('SISMEMBER', ROOT .. 'fleets', NAME) == 0

local epoch_of = {}
for _, epoch in ipairs(EPOCHS) do
    epoch_of[epoch[1]] = epoch
    local known = call('HMGET', P .. 'epoch:' .. epoch[1], 'first', 'began', 'last', 'reports')
    epoch.first, epoch.began, epoch.last, epoch.reports = unpack(known)
    if not epoch.first then call('ZCARD', P .. 'epochs') end
    -- The later leader that reported the lowest cycle, and this cycle.
    local member = call('ZRANGEBYLEX', P .. 'fence', '(' .. epoch[1] .. ':~', '+', 'LIMIT', 0, 1)[1]
    if member then epoch.later, epoch.later_first = sub(member, 1, 19), sub(member, 21) end
end

local function is_gone(line, cycle)
    local span = call('ZREVRANGEBYLEX', P .. 'gone:' .. line, '[' .. cycle .. ':~', '-', 'LIMIT', 0, 1)[1]
    return span and sub(span, 21) >= cycle
end

local refused = {}
for _, line in ipairs(LINES) do
    local name, epoch, lowest, highest, buckets = line[1], EPOCHS[line[2]], line[3], line[4], line[5]
    local last_gone = call('ZREVRANGE', P .. 'gone:' .. name, 0, 0)[1]
    local may_be_gone = last_gone and sub(last_gone, 21) >= lowest
    local may_be_stale = epoch.later and epoch.later_first <= highest
    for _, bucket in ipairs(buckets) do
        local means = call('HMGET', P .. 'keys:' .. name .. ':' .. bucket[1], unpacked(bucket[2]))
        for place, mean in ipairs(means) do
            local why
            if mean then
                why = {'kept', mean}
            elseif may_be_gone or may_be_stale then
                local cycle = bucket[1] .. ({unpacked(bucket[2])})[place]
                if may_be_gone and is_gone(name, cycle) then
                    why = {'gone'}
                elseif may_be_stale and epoch.later_first <= cycle then
                    why = {'stale', epoch.later, epoch.later_first}
                end
            end
            if why then refused[#refused + 1] = {({unpacked(bucket[4])})[place], why} end
        end
    end
end
if #refused > 0 or MODE == 'check' then return {false, refused} end

local function padded(number, width)
    return string.rep('0', width - #number) .. number
end

-- Returns the order of a report among those of its kind, from its field names and values: epoch and cycle, time and time of
-- arrival, all of fixed width.
local function recency(words)
    local report = {}
    for at = 1, #words, 2 do report[words[at]] = words[at + 1] end
    local key = report.epoch and report.cycle and padded(report.epoch, 19) .. padded(report.cycle, 19)
    return {key = key, time = padded(report.time, 18), received = padded(report.received, 18)}
end

-- Returns true if a report that arrives now is the latest of its kind; recency.rs contains the same rule.
local function supersedes(own, other)
    if own.key and other.key then return own.key > other.key end
    local bound = other.time < other.received and other.time or other.received
    return own.time >= own.received or own.time >= bound
end

local function words_of(_, _, ...)
    return {...}
end

-- Returns true if the report with the highest key of a kind supersedes the latest report, which has this time, whatever that
-- is: its epoch is the highest one, which is always in the fence, no later cycle is known, and it has no earlier time.
local function is_newest(kind, time)
    local epoch = epoch_of[sub(kind[2], 1, 19)]
    if not epoch or epoch.later or (epoch.last and epoch.last > sub(kind[2], 20)) then return false end
    local _, own = cmsgpack.unpack_one(ARGV[FIRST - 1 + kind[3]])
    return own >= time
end

-- Returns the place of the latest report of a kind if it is one of those to record.
local function latest_of(kind)
    local latest, place = call('HGET', P .. 'latest', kind.number), nil
    if latest and is_newest(kind, sub(latest, 1, 18)) then return kind[3] end
    if latest then
        local id = format('%d-0', tonumber(sub(latest, 20, 35)))
        -- The latest report is usually near the end of its block, which is read backwards.
        local entry = call('XREVRANGE', REPORTS, id, id)[1]
        latest = entry and recency(entry[2])
    end
    if kind[2] ~= '' and (not latest or latest.key) then
        return (not latest or kind[2] > latest.key) and kind[3]
    end
    for _, at in ipairs({unpacked(kind[4])}) do
        local own = recency(words_of(unpacked(ARGV[FIRST - 1 + at])))
        if not latest or supersedes(own, latest) then latest, place = own, at end
    end
    return place
end

local kinds_known
for _, kind in ipairs(KINDS) do
    kind.number = call('HGET', P .. 'kinds', kind[1])
    if not kind.number then
        kinds_known = (kinds_known or call('HLEN', P .. 'kinds')) + 1
        kind.number, kind.is_new = tostring(kinds_known), true
    end
    kind.latest = latest_of(kind)
end

local function sum_of(key, field, reports, total, least, most, n, mean, squares)
    local sum = {reports = 0, sum = 0, least = least, most = most, n = 0, mean = 0, squares = 0}
    local read = call('HGET', key, field)
    if read then moments.read(sum, read) end
    sum.reports, sum.sum, n = sum.reports + reports, sum.sum + total, tonumber(n)
    if tonumber(least) < tonumber(sum.least) then sum.least = least end
    if tonumber(most) > tonumber(sum.most) then sum.most = most end
    if n then moments.add(sum, {n = n, mean = tonumber(mean), squares = tonumber(squares)}) end
    return moments.format(sum)
end

local sums = {}
for _, hour in ipairs(HOURS) do
    hour.is_new = not call('ZSCORE', P .. 'hours', hour[1])
    for place, kind_of_sum in ipairs({'hour:', 'minutes:'}) do
        local key, words = P .. kind_of_sum .. hour[1], {}
        for _, sum in ipairs(hour[place + 1]) do
            local field = sum[1] .. KINDS[sum[2]].number
            words[#words + 1] = field
            words[#words + 1] = sum_of(key, field, unpack(sum, 3))
        end
        sums[key] = words
    end
end

-- Writing starts here. The stream is first: it refuses ids that are not above all previous ones.
local function call_with_all(command, key, words)
    for first = 1, #words, MAX_VALUES do
        call(command, key, unpack(words, first, math.min(first + MAX_VALUES - 1, #words)))
    end
end

local members = {}
local function add(time, kind, ...)
    newest = newest + 1
    call('XADD', REPORTS, format('%d-0', newest), ...)
    members[#members + 1] = '0'
    members[#members + 1] = format('%s:%016d:%s', time, newest, KINDS[kind].number)
end
for at = FIRST, #ARGV do add(unpacked(ARGV[at])) end
call_with_all('ZADD', P .. 'times', members)
for _, line in ipairs(LINES) do
    for _, bucket in ipairs(line[5]) do
        call('HSET', P .. 'keys:' .. line[1] .. ':' .. bucket[1], unpacked(bucket[3]))
    end
end
for _, hour in ipairs(HOURS) do
    if hour.is_new then call('ZADD', P .. 'hours', hour[1], hour[1]) end
end
for key, words in pairs(sums) do call_with_all('HSET', key, words) end
for _, kind in ipairs(KINDS) do
    if kind.is_new then call('HSET', P .. 'kinds', kind[1], kind.number) end
    if kind.latest then call('HSET', P .. 'latest', kind.number, members[2 * kind.latest]) end
end

-- Adds an epoch with its first cycle to the fence. The fence contains only epochs that no later epoch began before.
-- Therefore the next higher one decides.
local function add_to_fence(epoch, first)
    local fence = P .. 'fence'
    call('ZREMRANGEBYLEX', fence, '[' .. epoch .. ':', '[' .. epoch .. ':~')
    local above = call('ZRANGEBYLEX', fence, '(' .. epoch .. ':~', '+', 'LIMIT', 0, 1)[1]
    if above and sub(above, 21) < first then return end
    call('ZADD', fence, 0, epoch .. ':' .. first)
    local below = call('ZREVRANGEBYLEX', fence, '(' .. epoch .. ':', '-', 'LIMIT', 0, 1)[1]
    while below and sub(below, 21) > first do
        call('ZREM', fence, below)
        below = call('ZREVRANGEBYLEX', fence, '(' .. epoch .. ':', '-', 'LIMIT', 0, 1)[1]
    end
end

for _, epoch in ipairs(EPOCHS) do
    local number, first, began, last, reports, received, reporter = unpack(epoch)
    if epoch.first and epoch.first < first then
        first, began = epoch.first, epoch.began
    elseif epoch.first == first and epoch.began and epoch.began < began then
        began = epoch.began
    end
    if epoch.last and epoch.last > last then last = epoch.last end
    local words = {'first', first, 'last', last, 'reports', reports + (epoch.reports or 0), 'received', received,
        'reporter', reporter}
    if began then words[11], words[12] = 'began', began end
    call('HSET', P .. 'epoch:' .. number, unpack(words))
    if not epoch.first then call('ZADD', P .. 'epochs', 0, number) end
    if epoch.first ~= first then add_to_fence(number, first) end
end
if is_new_fleet and #members > 0 then call('SADD', ROOT .. 'fleets', NAME) end
call('HSET', ROOT .. 'meta', 'version', VERSION, 'newest', format('%d', newest))
return {before, refused}
