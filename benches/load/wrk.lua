-- `wrk ... -- FILE`: each request is drawn at random from a file's lines, `METHOD PATH[<tab>Name: value]...`.
-- Ends with one line of figures for the harness.

local function request_of(line)
  local headers, first = {}, nil
  for part in line:gmatch("[^\t]+") do
    if not first then first = part
    else
      local name, value = part:match("^([^:]+): (.*)$")
      headers[name] = value
    end
  end
  -- What wrk itself was told to send goes with it.
  for name, value in pairs(wrk.headers) do headers[name] = headers[name] or value end
  local method, path = first:match("^(%S+) (%S+)$")
  return wrk.format(method, path, headers)
end

function init(args)
  local requests = {}
  for line in io.lines(args[1]) do requests[#requests + 1] = request_of(line) end
  local count = #requests
  math.randomseed(1)
  request = function() return requests[math.random(count)] end
end

function done(summary, latency)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.timeout
  print(string.format("figures %d %d %d %d %d %d %d", summary.requests, summary.duration, failed, e.status,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
