-- Moments of readings, see moments.rs: their number `n`, their `mean` and the sum of their squared distances from it,
-- `squares`, nil if that is not known. This file is a part of each script that keeps sums.
local moments = {}

-- Returns the moments of the readings of a report; nil if they cannot be computed from it. The arguments are text, '' or
-- nil for none.
function moments.of(mean, stddev, count, aggregate)
    local n = tonumber(count or '')
    if not n or n < 1 or (aggregate or '') ~= '' then return nil end
    stddev = tonumber(stddev or '')
    return {n = n, mean = tonumber(mean), squares = n == 1 and 0 or stddev and stddev * stddev * n or nil}
end

-- Adds moments, or nil, to those of a sum. A sum of an earlier version has none and gets none: its `n` is nil.
function moments.add(sum, other)
    if not sum.n or not other then return end
    if sum.n == 0 then
        sum.n, sum.mean, sum.squares = other.n, other.mean, other.squares
        return
    end
    local share = other.n / (sum.n + other.n)
    local distance = other.mean - sum.mean
    sum.squares = sum.squares and other.squares and sum.squares + other.squares + distance * distance * (sum.n * share)
    sum.mean = sum.mean + distance * share
    sum.n = sum.n + other.n
end

-- Reads a sum into `sum`.
function moments.read(sum, text)
    local reports, total, low, high, n, mean, squares =
        string.match(text, '(%S+) (%S+) (%S+) (%S+) ?(%S*) ?(%S*) ?(%S*)')
    sum.reports, sum.sum, sum.least, sum.most = tonumber(reports), tonumber(total), low, high
    sum.n, sum.mean, sum.squares = tonumber(n), tonumber(mean), tonumber(squares)
end

-- Formats a sum.
function moments.format(sum)
    local text = string.format('%d %.17g %s %s', sum.reports, sum.sum, sum.least, sum.most)
    if not sum.n then return text end
    local squares = sum.squares and string.format('%.17g', sum.squares) or '?'
    return text .. string.format(' %.0f %.17g ', sum.n, sum.mean) .. squares
end

