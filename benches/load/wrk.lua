-- `wrk ... -- N`: each request draws one of N routes at random (the paths of routes.py); without N, all ask for `/`.
-- Ends with one line of figures for the harness.

local function path(n)
  if n % 3 == 0 then return "/api/v1/service" .. n .. "/status" end
  if n % 3 == 1 then return "/api/v1/service" .. n .. "/42/items" end
  return "/api/v1/service" .. n .. "/some/deep/path"
end

function init(args)
  local count = tonumber(args[1] or 0)
  if count == 0 then return end
  local requests = {}
  for n = 1, count do requests[n] = wrk.format("GET", path(n - 1)) end
  request = function() return requests[math.random(count)] end
end

function done(summary, latency)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.status + e.timeout
  print(string.format("figures %d %d %d %d %d", summary.requests, summary.duration, failed,
    latency:percentile(50), latency:percentile(99)))
end
