-- What wrk asks of the API: wrk -s api_load.lua URL -- read|patch TOKENS FIRST
-- TOKENS is a file of patients' tokens, one a line; each request is another patient's, in turn. FIRST (0 to 900): of a patch, the
-- minute of the day that the first round sets quiet hours to, so that one run does not set what another has set.
local requests, turn, first = {}, 0, 0
local PATH = "/v1/recipients/me/preferences"

function init(arguments)
  local change = arguments[1] == "patch"
  for token in io.lines(arguments[2]) do
    local headers = { ["Authorization"] = "Bearer " .. token }
    if change then
      headers["If-Match"] = "*"
      headers["Content-Type"] = "application/merge-patch+json"
    end
    requests[#requests + 1] = headers
  end
  method = change and "PATCH" or "GET"
  first = tonumber(arguments[3])
end

function request()
  local headers = requests[turn % #requests + 1]
  turn = turn + 1
  if method == "GET" then
    return wrk.format(method, PATH, headers)
  end
  -- Another minute each time round, so that every request changes something.
  local minute = (first + math.floor((turn - 1) / #requests)) % 1400
  local start = string.format("%02d:%02d", math.floor(minute / 60), minute % 60)
  local body = string.format('{"quietHours": {"enabled": true, "start": "%s", "end": "23:59"}}', start)
  return wrk.format(method, PATH, headers, body)
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "most_ms": %f, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout
  ))
end
