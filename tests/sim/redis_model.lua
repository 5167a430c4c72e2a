-- A model of Redis for the simulation: the commands that the product sends, over plain tables, with the product's own
-- functions (schemas/redis/sluice_v1.lua) running on top of it under the same Lua 5.1.
--
-- Hard: to answer as Redis 7 does where the product depends on it (stream ids refused, nil against empty, types of reply). Chosen: every
-- command is a function of its arguments (strings) that returns what a Redis Lua script would see: number, string, array, false (nil),
-- {ok=..}, {err=..}. An unknown command or option is an error of the simulation, never a silent nil.

local db, expiries, functions, published = {}, {}, {}, {}
local now_ms, run_id, refuses = 0, "run-0", false
local saved = {}

local cmd = {}

local function fail(text) return { err = text } end
local WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"

local function live(key)
  local until_ms = expiries[key]
  if until_ms and until_ms <= now_ms then db[key], expiries[key] = nil, nil end
  return db[key]
end

local function typed(key, kind, make)
  local v = live(key)
  if not v then
    if not make then return nil end
    v = make()
    v.kind = kind
    db[key] = v
  end
  if v.kind ~= kind then error(WRONGTYPE, 0) end
  return v
end

local function int(text)
  local n = tonumber(text)
  if not n or n ~= math.floor(n) then error("ERR value is not an integer or out of range", 0) end
  return n
end

local function drop(key)
  local was = live(key) ~= nil
  db[key], expiries[key] = nil, nil
  return was and 1 or 0
end

-- strings ---------------------------------------------------------------------------------------------------------------
function cmd.GET(key)
  local v = typed(key, "string")
  return v and v.value or false
end

function cmd.SET(key, value, ...)
  local options, i = { ... }, 1
  local nx, ttl, keep = false, nil, false
  while i <= #options do
    local o = options[i]:upper()
    if o == "NX" then nx = true
    elseif o == "PX" then ttl = int(options[i + 1]); i = i + 1
    elseif o == "EX" then ttl = int(options[i + 1]) * 1000; i = i + 1
    elseif o == "KEEPTTL" then keep = true
    else error("model: SET option " .. o, 0) end
    i = i + 1
  end
  if nx and live(key) then return false end
  db[key] = { kind = "string", value = value }
  if not keep then expiries[key] = nil end
  if ttl then expiries[key] = now_ms + ttl end
  return { ok = "OK" }
end

function cmd.MGET(...)
  local out = {}
  for i, key in ipairs({ ... }) do
    local v = live(key)
    out[i] = v and v.kind == "string" and v.value or false
  end
  return out
end

function cmd.INCRBY(key, by)
  local v = typed(key, "string", function() return { value = "0" } end)
  local n = int(v.value) + int(by)
  v.value = string.format("%.0f", n)
  return n
end
function cmd.INCR(key) return cmd.INCRBY(key, "1") end
function cmd.DECR(key) return cmd.INCRBY(key, "-1") end
function cmd.DECRBY(key, by) return cmd.INCRBY(key, string.format("%.0f", -int(by))) end

-- keys ------------------------------------------------------------------------------------------------------------------
function cmd.DEL(...)
  local n = 0
  for _, key in ipairs({ ... }) do n = n + drop(key) end
  return n
end
cmd.UNLINK = cmd.DEL
function cmd.EXISTS(...)
  local n = 0
  for _, key in ipairs({ ... }) do if live(key) then n = n + 1 end end
  return n
end
function cmd.PEXPIRE(key, ms)
  if not live(key) then return 0 end
  expiries[key] = now_ms + int(ms)
  return 1
end
function cmd.PEXPIREAT(key, at)
  if not live(key) then return 0 end
  expiries[key] = int(at)
  live(key)
  return 1
end
function cmd.EXPIRE(key, s) return cmd.PEXPIRE(key, tostring(int(s) * 1000)) end
function cmd.PERSIST(key)
  if not live(key) or not expiries[key] then return 0 end
  expiries[key] = nil
  return 1
end
function cmd.PTTL(key)
  if not live(key) then return -2 end
  return expiries[key] and expiries[key] - now_ms or -1
end
function cmd.TYPE(key)
  local v = live(key)
  return { ok = v and v.kind or "none" }
end

-- hashes ----------------------------------------------------------------------------------------------------------------
local function hash() return { fields = {}, count = 0 } end

function cmd.HSET(key, ...)
  local args, h, added = { ... }, typed(key, "hash", hash), 0
  if #args == 0 or #args % 2 ~= 0 then error("ERR wrong number of arguments for 'hset' command", 0) end
  for i = 1, #args, 2 do
    if h.fields[args[i]] == nil then added, h.count = added + 1, h.count + 1 end
    h.fields[args[i]] = args[i + 1]
  end
  return added
end
function cmd.HSETNX(key, field, value)
  local h = typed(key, "hash", hash)
  if h.fields[field] ~= nil then return 0 end
  return cmd.HSET(key, field, value)
end
function cmd.HGET(key, field)
  local h = typed(key, "hash")
  return h and h.fields[field] or false
end
function cmd.HMGET(key, ...)
  local h, out = typed(key, "hash"), {}
  for i, field in ipairs({ ... }) do out[i] = h and h.fields[field] or false end
  return out
end
function cmd.HGETALL(key)
  local h, out = typed(key, "hash"), {}
  if h then
    for field, value in pairs(h.fields) do out[#out + 1] = field; out[#out + 1] = value end
  end
  return out
end
function cmd.HDEL(key, ...)
  local h, n = typed(key, "hash"), 0
  if not h then return 0 end
  for _, field in ipairs({ ... }) do
    if h.fields[field] ~= nil then h.fields[field], h.count, n = nil, h.count - 1, n + 1 end
  end
  if h.count == 0 then drop(key) end
  return n
end
function cmd.HEXISTS(key, field)
  local h = typed(key, "hash")
  return h and h.fields[field] ~= nil and 1 or 0
end
function cmd.HINCRBY(key, field, by)
  local n = int(cmd.HGET(key, field) or "0") + int(by)
  cmd.HSET(key, field, string.format("%.0f", n))
  return n
end
function cmd.HINCRBYFLOAT(key, field, by)
  local n = tonumber(cmd.HGET(key, field) or "0") + tonumber(by)
  cmd.HSET(key, field, string.format("%.17g", n))
  return string.format("%.17g", n)
end
function cmd.HLEN(key)
  local h = typed(key, "hash")
  return h and h.count or 0
end

-- sorted sets -----------------------------------------------------------------------------------------------------------
local function zset() return { scores = {} } end
local function zsorted(z)
  local list = {}
  for member, score in pairs(z.scores) do list[#list + 1] = { member, score } end
  table.sort(list, function(a, b) return a[2] < b[2] or (a[2] == b[2] and a[1] < b[1]) end)
  return list
end
local function bound(text, low)
  local exclusive = text:sub(1, 1) == "("
  if exclusive then text = text:sub(2) end
  local n = (text == "-inf" and -math.huge) or ((text == "+inf" or text == "inf") and math.huge) or tonumber(text)
  if not n then error("ERR min or max is not a float", 0) end
  return n, exclusive
end
local function inside(score, min, min_x, max, max_x)
  return (score > min or (score == min and not min_x)) and (score < max or (score == max and not max_x))
end
function cmd.ZADD(key, ...)
  local args, z, i, nx, added = { ... }, typed(key, "zset", zset), 1, false, 0
  while args[i] and (args[i]:upper() == "NX" or args[i]:upper() == "GT") do
    nx = nx or args[i]:upper() == "NX"
    i = i + 1
  end
  for j = i, #args, 2 do
    local score, member = tonumber(args[j]), args[j + 1]
    if not score then error("ERR value is not a valid float", 0) end
    if z.scores[member] == nil then added = added + 1 end
    if not (nx and z.scores[member] ~= nil) then z.scores[member] = score end
  end
  return added
end
function cmd.ZREM(key, ...)
  local z, n = typed(key, "zset"), 0
  if not z then return 0 end
  for _, member in ipairs({ ... }) do if z.scores[member] ~= nil then z.scores[member], n = nil, n + 1 end end
  if next(z.scores) == nil then drop(key) end
  return n
end
function cmd.ZCARD(key)
  local z = typed(key, "zset")
  return z and #zsorted(z) or 0
end
function cmd.ZSCORE(key, member)
  local z = typed(key, "zset")
  return z and z.scores[member] and string.format("%.17g", z.scores[member]) or false
end
local function zrange(key, min, max, reverse, options)
  local z, out, offset, limit, with = typed(key, "zset"), {}, 0, math.huge, false
  local lo, lo_x = bound(min)
  local hi, hi_x = bound(max)
  local i = 1
  while i <= #options do
    local o = options[i]:upper()
    if o == "LIMIT" then offset, limit = int(options[i + 1]), int(options[i + 2]); i = i + 2
    elseif o == "WITHSCORES" then with = true
    else error("model: ZRANGE option " .. o, 0) end
    i = i + 1
  end
  if limit < 0 then limit = math.huge end
  local list = z and zsorted(z) or {}
  local from, to, step = 1, #list, 1
  if reverse then from, to, step = #list, 1, -1 end
  for k = from, to, step do
    local member, score = list[k][1], list[k][2]
    if inside(score, lo, lo_x, hi, hi_x) then
      if offset > 0 then offset = offset - 1
      elseif limit > 0 then
        limit = limit - 1
        out[#out + 1] = member
        if with then out[#out + 1] = string.format("%.17g", score) end
      end
    end
  end
  return out
end
function cmd.ZRANGEBYSCORE(key, min, max, ...) return zrange(key, min, max, false, { ... }) end
function cmd.ZREVRANGEBYSCORE(key, max, min, ...) return zrange(key, min, max, true, { ... }) end
function cmd.ZREMRANGEBYSCORE(key, min, max)
  local doomed = zrange(key, min, max, false, {})
  return #doomed > 0 and cmd.ZREM(key, unpack(doomed)) or 0
end

function cmd.ZREMRANGEBYRANK(key, first, last)
  local z, doomed = typed(key, "zset"), {}
  local list = z and zsorted(z) or {}
  first, last = int(first), int(last)
  if first < 0 then first = #list + first end
  if last < 0 then last = #list + last end
  for i = first + 1, math.min(last + 1, #list) do doomed[#doomed + 1] = list[i][1] end
  return #doomed > 0 and cmd.ZREM(key, unpack(doomed)) or 0
end

-- streams ---------------------------------------------------------------------------------------------------------------
local function stream() return { entries = {}, last = { 0, 0 } } end
local function id_less(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end
local function id_text(id) return string.format("%.0f-%.0f", id[1], id[2]) end
local function id_parse(text, default_seq)
  local ms, seq = text:match("^(%d+)-(%d+)$")
  if not ms then ms, seq = text:match("^(%d+)$"), default_seq end
  if not ms then error("ERR Invalid stream ID specified as stream command argument", 0) end
  return { tonumber(ms), tonumber(seq) }
end
function cmd.XADD(key, ...)
  local args, i, nomk, trim = { ... }, 1, false, nil
  while true do
    local o = args[i] and args[i]:upper()
    if o == "NOMKSTREAM" then nomk = true; i = i + 1
    elseif o == "MINID" then i = i + 1; if args[i] == "~" or args[i] == "=" then i = i + 1 end; trim = id_parse(args[i], 0); i = i + 1
    else break end
  end
  if nomk and not live(key) then return false end
  if args[i] == "*" then error("model: XADD * is not used here", 0) end
  local id = id_parse(args[i], 0)
  local s = typed(key, "stream") or stream()
  if id[1] == 0 and id[2] == 0 then error("ERR The ID specified in XADD must be greater than 0-0", 0) end
  if not id_less(s.last, id) then
    error("ERR The ID specified in XADD is equal or smaller than the target stream top item", 0)
  end
  s.kind = "stream"
  db[key] = s
  local fields = {}
  for k = i + 1, #args do fields[#fields + 1] = args[k] end
  if #fields == 0 or #fields % 2 ~= 0 then error("ERR wrong number of arguments for 'xadd' command", 0) end
  s.entries[#s.entries + 1] = { id, fields }
  s.last = id
  if trim then cmd.XTRIM(key, "MINID", id_text(trim)) end
  return id_text(id)
end
function cmd.XTRIM(key, how, ...)
  local args, s, n = { ... }, typed(key, "stream"), 0
  if how:upper() ~= "MINID" then error("model: XTRIM " .. how, 0) end
  local floor = id_parse(args[#args], 0)
  while s and s.entries[1] and id_less(s.entries[1][1], floor) do
    table.remove(s.entries, 1)
    n = n + 1
  end
  return n
end
function cmd.XLEN(key)
  local s = typed(key, "stream")
  return s and #s.entries or 0
end
local function xrange(key, from, to, count, reverse)
  local s, out = typed(key, "stream"), {}
  if not s then return out end
  local lo_x, hi_x = from:sub(1, 1) == "(", to:sub(1, 1) == "("
  local lo = from == "-" and { 0, 0 } or id_parse(lo_x and from:sub(2) or from, 0)
  local hi = to == "+" and { math.huge, math.huge } or id_parse(hi_x and to:sub(2) or to, math.huge)
  local entries = s.entries
  -- first: the first entry above the lower bound; last: the last one below the upper bound
  local first, past = 1, #entries + 1
  while first < past do
    local mid = math.floor((first + past) / 2)
    local id = entries[mid][1]
    if id_less(lo, id) or (not lo_x and not id_less(id, lo)) then past = mid else first = mid + 1 end
  end
  local last = #entries
  while last >= first do
    local id = entries[last][1]
    if id_less(id, hi) or (not hi_x and not id_less(hi, id)) then break end
    last = last - 1
  end
  local a, b, step = first, last, 1
  if reverse then a, b, step = last, first, -1 end
  for i = a, b, step do
    if #out >= count then break end
    out[#out + 1] = { id_text(entries[i][1]), entries[i][2] }
  end
  return out
end
local function count_of(args)
  if #args == 0 then return math.huge end
  if args[1]:upper() ~= "COUNT" then error("model: XRANGE option " .. args[1], 0) end
  return int(args[2])
end
function cmd.XRANGE(key, from, to, ...) return xrange(key, from, to, count_of({ ... }), false) end
function cmd.XREVRANGE(key, to, from, ...) return xrange(key, from, to, count_of({ ... }), true) end

-- server ----------------------------------------------------------------------------------------------------------------
function cmd.TIME()
  return { string.format("%.0f", math.floor(now_ms / 1000)), string.format("%.0f", (now_ms % 1000) * 1000) }
end
function cmd.PUBLISH(channel, payload)
  published[#published + 1] = { channel, payload }
  return 1
end
function cmd.INFO() return "# Server\r\nredis_version:7.0.15\r\nrun_id:" .. run_id .. "\r\nuptime_in_seconds:1\r\n" end
function cmd.PING() return { ok = "PONG" } end
function cmd.FLUSHALL()
  db, expiries = {}, {}
  return { ok = "OK" }
end
function cmd.FUNCTION(sub, ...)
  local args = { ... }
  if sub:upper() ~= "LOAD" then error("model: FUNCTION " .. sub, 0) end
  local code = args[#args]
  local chunk, why = loadstring((code:gsub("^#![^\n]*", "")), "=functions")
  if not chunk then error("ERR Error compiling function: " .. why, 0) end
  chunk()
  return "sluice_v1"
end
function cmd.FCALL(name, numkeys, ...)
  local f, keys, args, all = functions[name], {}, {}, { ... }
  if not f then error("ERR Function not found", 0) end
  local n = int(numkeys)
  for i = 1, n do keys[i] = all[i] end
  for i = n + 1, #all do args[#args + 1] = all[i] end
  return f(keys, args)
end

local function dispatch(argv)
  local f = cmd[argv[1]:upper()]
  if not f then error("model: command " .. argv[1] .. " is not modelled", 0) end
  return f(unpack(argv, 2))
end

local function as_strings(...)
  local argv = { ... }
  for i = 1, select("#", ...) do
    local v = argv[i]
    if type(v) == "number" then argv[i] = string.format("%.17g", v)
    elseif type(v) ~= "string" then error("ERR Lua redis lib command arguments must be strings or integers", 0) end
  end
  return argv
end

-- What the functions see.
redis = {
  LOG_WARNING = 3,
  call = function(...)
    local got = dispatch(as_strings(...))
    if type(got) == "table" and got.err then error(got, 0) end
    return got
  end,
  pcall = function(...)
    local ok, got = pcall(dispatch, as_strings(...))
    if ok then return got end
    return type(got) == "table" and got or { err = tostring(got) }
  end,
  error_reply = function(text) return { err = text } end,
  status_reply = function(text) return { ok = text } end,
  log = function() end,
  register_function = function(a, b)
    if type(a) == "table" then functions[a.function_name] = a.callback else functions[a] = b end
  end,
}

local function copy(v)
  if type(v) ~= "table" then return v end
  local out = {}
  for k, x in pairs(v) do out[k] = copy(x) end
  return out
end

-- What the simulation calls.
model = {
  command = function(at, ...)
    now_ms = at
    if refuses and (... == "FCALL" or ... == "SET") then return { err = "OOM command not allowed when used memory > 'maxmemory'." } end
    local ok, got = pcall(dispatch, { ... })
    if ok then return got end
    return type(got) == "table" and got.err and got or { err = tostring(got) }
  end,
  take_published = function()
    local out = published
    published = {}
    return out
  end,
  -- How many jobs of a tenant stand here without an end; what its counter should say.
  open_jobs = function(tenant)
    local n = 0
    for key, v in pairs(db) do
      local f = v.kind == "hash" and key:sub(1, 2) == "j:" and v.fields
      if f and f.tn == tenant and not f.rs and (f.st == "queued" or f.st == "running" or f.st == "waiting") then n = n + 1 end
    end
    return n
  end,
  -- A stream in which an event is missing: every entry follows the one before it by its number, or is a snapshot. "": none.
  hole = function()
    for key, v in pairs(db) do
      if v.kind == "stream" then
        for i = 2, #v.entries do
          local id, before = v.entries[i][1], v.entries[i - 1][1]
          if id[2] ~= before[2] + 1 and v.entries[i][2][2] ~= "job.snapshot" then return key .. " before " .. id_text(id) end
        end
      end
    end
    return ""
  end,
  refuse = function(on) refuses = on end,
  save = function() saved = { copy(db), copy(expiries) } end,
  restart = function(id, from_saved)
    run_id = id
    if from_saved and saved[1] then db, expiries = copy(saved[1]), copy(saved[2]) end
  end,
}
