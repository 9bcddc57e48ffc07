-- Script of wrk: posts reports like a node, each with a unique key. Arguments: epoch, number of reports in a request.

local threads = 0

function setup(thread)
   thread:set("number", threads)
   threads = threads + 1
end

function init(arguments)
   epoch, batch = tonumber(arguments[1]), tonumber(arguments[2])
   -- Separate ranges, so that the cycles of two threads never collide.
   cycle = number * 1000000000
   wrk.method = "POST"
   wrk.headers["Content-Type"] = "application/json"
end

local function report()
   cycle = cycle + 1
   local mean = 70 + cycle % 1000 / 64
   return string.format('{"epoch":%d,"cycle":%d,"time":"2026-11-21T08:00:00.%06dZ","quantity":"temperature","unit":"Cel",'
      .. '"mean":%.6f,"min":%.6f,"max":%.6f,"stddev":0.5,"count":3,"excluded":0}',
      epoch, cycle, cycle % 1000000, mean, mean - 1, mean + 1)
end

function request()
   if batch == 1 then
      return wrk.format(nil, "/api/v1/reports", nil, report())
   end
   local reports = {}
   for at = 1, batch do
      reports[at] = report()
   end
   return wrk.format(nil, "/api/v1/reports", nil, "[" .. table.concat(reports, ",") .. "]")
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format('{"requests":%d,"refused":%d,"broken":%d,"microseconds":%d,"p50":%d,"p99":%d}\n',
      summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
      summary.duration, latency:percentile(50), latency:percentile(99)))
end
