-- Part 5: the two functions, trade() and view(), made of all that stands above them.

-- The trade ------------------------------------------------------------------------------------------------------------------

local function keep_alive(b, c, x, keys)
    if x.now - b.kept < 30000 then return end
    local ttl = (c[41] > 0 or c[43] > 0) and 93600000 or 900000
    redis.call('PEXPIRE', keys[1], math.max(ttl, b.till - x.now + 900000))
    redis.call('PEXPIRE', keys[2], 300000)
    redis.call('PEXPIRE', keys[3], 120000)
    redis.call('PEXPIRE', keys[4], 900000)
    b.kept = x.now
end

-- Who asks, what day it is, whether this budget is what the worker knows. False: nothing is to be granted before it has told.
local function greet(b, x, keys)
    local known = x.n[3] > 0 and b.seen >= x.n[3]
    local day
    x.now, day = clock(b, known, x.n[4])
    x.was_at = b.at
    local anew = b.born == 0 or x.n[3] > b.seen
    if anew then
        redis.call('DEL', keys[2])
        begin(b, x.now)
        if x.n[29] == 1 then b.half = x.now + MINUTE end
    end
    b.at, b.seen = x.now, math.max(b.seen, x.n[3]) + 1
    if day ~= b.day then b.day, b.dr, b.du = day, 0, 0 end
    if x.n[5] == day then b.dr, b.du = math.max(b.dr, x.n[6]), math.max(b.du, x.n[7]) end
    expire(b, keys[2], x.now)
    return not (anew and x.n[29] == 1)
end

-- What the trade tells, unless it was told before. at: behind the demand.
local function hear(b, c, x, w, keys, at)
    local has_told, settles, days = x.n[33], x.n[34], x.n[35]
    local e = numbers(redis.call('HGET', keys[4], x.args[1]), 6)
    x.was_in_flight, x.turn = e[1], e[6]
    x.is_new = e[3] < x.n[2]
    if not x.is_new and e[5] == 1 and b.st == PROBING then b.st, b.till = CLOSED, x.now end -- the probe was lost with the answer
    local asked = table.concat(x.args, ' ', 8, 17)
    if asked ~= x.m.asked or x.now - x.m.asked_at > 5000 then
        for d = 1, 4 do configured(x, c, d, 4 + d, x.n[7 + d], x.now) end
        for d = 1, 3 do configured(x, c, 40 + d, 43 + d, x.n[11 + d], x.now) end
        local off = x.learns and 0 or 1
        if c[47] ~= x.quantum or c[48] ~= off then c[47], c[48], x.m.is_changed = x.quantum, off, true end
        x.m.asked, x.m.asked_at = asked, x.now
    end
    if not x.is_new then return end
    local after = at + 12 * has_told
    settle(b, w, x, after, settles)
    history(b, w, x, after + 9 * settles, days)
    if has_told == 1 and x.learns then learn_told(b, c, x, at) end
end

local function answer(b, x, reason, wait, ttl, s, o, ranks)
    local l = x.lease
    local r = {l[1], l[2], l[3], l[4], l[5], l[6], l[7], ttl, s, o, b.gen, b.seen, x.probe and l[1] > 0 and 1 or 0, reason,
        math.max(0, wait), math.max(wait, x.eta), b.st, (b.st == CLOSED or b.st == PROBING) and b.why or 0, math.max(0, b.st == CLOSED and b.till - x.now or 0),
        b.day, b.dr, b.du, x.now - b.born, math.max(1, b.wk), x.L[1], x.L[2], x.L[3], x.L[4]}
    for i = 1, #ranks do r[#r + 1] = ranks[i] end
    return r
end

-- keys: budget slots flows workers; args: 1 incarnation seq seen since day day-requests day-spend, 8 configured (4) a-day
-- concurrency spend quantum start learns, 18 in-flight rtt output-made, 21 gen close close-ms oks fails probe, 27 expect least
-- is-used, 30 calls (3 ranks) has-told settles history flows; then of each rank with calls: first (i o t vi vo $) all (the same);
-- told (4 x limit remaining reset); settles (slot output-slot and an amount); history (4 each); flows (name group weight served
-- waits).
local function trade(keys, args)
    local x = {args = args, n = {}, lease = {0, 0, 0, 0, 0, 0, 0}, wait = 5, eta = 0, pace = 1}
    for i = 2, #args do x.n[i] = tonumber(args[i]) end
    x.m = load(keys[1])
    local b, c = x.m.b, x.m.limits
    local w = {key = keys[2], have = {}, dirty = {}}
    local may = greet(b, x, keys)
    x.quantum, x.start, x.learns = x.n[15], x.n[16], x.n[17] == 1
    local demands = 37
    local told_at = demands
    for q = 0, 2 do
        if x.n[30 + q] > 0 then told_at = told_at + 12 end
    end
    hear(b, c, x, w, keys, told_at)
    x.L, x.known = limits(b, c, x)
    if x.is_new then verdicts(b, c, x) end
    x.share = share_of(b, x.now)
    if x.learns then grow(b, c, x) end
    if x.now - b.wat > 1000 then scan_workers(b, keys[4], x.now) end
    local ranks = flows(b, c, x, keys[3], told_at + 12 * x.n[33] + 9 * x.n[34] + 4 * x.n[35], x.n[36])
    refill(b, x)
    if x.L[3] > 0 then look_ahead(b, keys[2], x.now, x.n[28]) end
    local reason, wait, ttl, s, o = 0, 0, 0, 0, 0
    local others = b.fl - x.was_in_flight
    b.fl = others + x.n[18]
    if may then reason, wait = lease(b, c, x, w, demands) else reason, wait = RATE, 20 end
    if x.lease[1] > 0 then ttl, s, o = book(b, c, x, w) end
    b.fl = b.fl + x.lease[1]
    local entry = (x.n[18] + x.lease[1]) .. ' ' .. x.now .. ' ' .. args[2] .. ' ' .. (x.n[30] + x.n[31] + x.n[32]) ..
        (x.probe and x.lease[1] > 0 and ' 1 ' or ' 0 ') .. x.turn
    if redis.call('HSET', keys[4], args[1], entry) > 0 then redis.call('PEXPIRE', keys[4], 900000) end
    store(w)
    save(keys[1], x.m)
    keep_alive(b, c, x, keys)
    return answer(b, x, reason, wait, ttl, s, o, ranks)
end

-- What could be granted of a dimension this moment, and when there will be a unit again; -1 where nothing limits it.
local function next_of(b, x, w, d)
    if x.L[d] <= 0 then return -1, -1 end
    if b.st == CLOSED then return 0, math.max(0, b.till - x.now) end
    if b.st == PROBING then return 0, gate(b, x) or 0 end
    local have = math.floor(math.min(x.room[d], x.level[d]))
    if have >= 1 then return have, 0 end
    if x.room[d] >= 1 then return 0, math.ceil((1 - x.level[d]) / math.max(x.rate[d], 1e-6)) end
    x.lack_d, x.lack = d, 1 - x.room[d]
    return 0, math.max(1, wait_of_window(b, x, w))
end

-- Calls that wait, as the workers told last.
local function waiters(key, now)
    local all, n = redis.call('HGETALL', key), 0
    for i = 2, #all, 2 do
        local e = numbers(all[i], 4)
        if now - e[2] < 30000 then n = n + e[4] end
    end
    return n
end

-- keys: budget slots flows workers
local function view(keys)
    local m = load(keys[1], true)
    local b, c = m.b, m.limits
    if b.born == 0 then return {0} end
    local x = {m = m, learns = c[48] == 0, quantum = c[47], start = math.max(c[33], 1)}
    local _, today = clock(b, false, 0)
    x.now = redis.call('TIME')[1] * 1000 + b.off
    if x.now < b.at then x.now = b.at end
    expire(b, keys[2], x.now, true)
    local L = limits(b, c, x)
    local share = share_of(b, x.now)
    local day, is_fresh, w = today == b.day, x.now - b.fat < 10000, {key = keys[2]}
    x.L, x.share, x.was_at = L, share, b.at
    refill(b, x)
    rooms(b, c, x, 0, 0)
    local r = {1, b.st, (b.st == CLOSED or b.st == PROBING) and b.why or 0, math.max(0, b.st == CLOSED and b.till - x.now or 0),
        share * 1000, day and b.dr or 0, day and b.du or 0, b.fl, b.wk, b.closes, b.refused, waiters(keys[4], x.now), c[41], c[43],
        c[42], is_fresh and b.f0 + b.f1 or 0, is_fresh and b.k0 + b.k1 or 0}
    for d = 1, 4 do
        local have, next_ms = next_of(b, x, w, d)
        local list = {L[d], c[d], told(c, d, x.now), c[32 + d], b[d], foreign(c, d, x.now), have, next_ms}
        for i = 1, 8 do r[#r + 1] = list[i] end
    end
    for i = 1, #r do r[i] = math.floor(r[i]) end
    return r
end

redis.register_function('sluice_pace_v1_trade', trade)
redis.register_function('sluice_pace_v1_view', view)
