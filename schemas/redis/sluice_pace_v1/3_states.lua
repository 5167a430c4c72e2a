-- Part 3: closed, probing, ramping, open; who has had how much (flows); who is there (workers).

-- States ---------------------------------------------------------------------------------------------------------------------

local function close(b, c, x, why, ms)
    -- Calls that went well since the last close: what was told then did hold, and this refusal is another one.
    local held = why == THROTTLE and ms > 0 and b.k0 + b.k1 >= 5
    if held or b.closes == 0 or b.st == OPEN and x.now - b.since > 10000 then b.tries = 0
    else b.tries = math.min(b.tries + 1, 30) end
    if why == THROTTLE then
        for d = 1, 4 do
            if ms == 0 and c[28 + d] > x.now then ms = c[28 + d] - x.now end
        end
        local own = math.min(MINUTE, 1000 * 2 ^ b.tries)
        -- what was told and did not hold is not believed again
        if ms > 0 and b.tries > 0 then ms = math.max(ms, math.min(own / 2, 15000)) end
        ms = ms > 0 and math.min(ms, 3600000) or own
    elseif why == OUTAGE then
        ms = math.min(MINUTE, math.max(ms, b.tries < 12 and 5000 or 5000 * 2 ^ (b.tries - 11)))
    else
        ms = ms > 0 and math.min(ms, 93600000) or math.min(3600000, 300000 * 2 ^ b.tries)
    end
    b.st, b.why, b.till, b.since, b.gen, b.closes = CLOSED, why, x.now + math.ceil(ms), x.now, b.gen + 1, b.closes + 1
    b.f0, b.k0, b.f1, b.k1, b.run = 0, 0, 0, 0, 0
    for d = 7, 10 do b[d] = math.min(b[d], 0) end
end

local function count_ends(b, x, oks, fails)
    if x.now - b.fat >= 5000 then
        local fresh = x.now - b.fat < 10000
        b.f1, b.k1 = fresh and b.f0 or 0, fresh and b.k0 or 0
        b.f0, b.k0, b.fat = 0, 0, x.now
    end
    b.f0, b.k0, b.run = b.f0 + fails, b.k0 + oks, oks > 0 and 0 or b.run + fails
    local bad, good = b.f0 + b.f1, b.k0 + b.k1
    return bad > good and (bad >= 5 or bad >= 3 and good == 0) or b.run >= 12
end

-- What the workers saw of calls of the present gen.
local function verdicts(b, c, x)
    local how, ms, probe = x.n[22], x.n[23], x.n[26]
    if how == THROTTLE then b.refused = b.refused + 1 end
    if x.n[21] ~= b.gen or b.st == CLOSED then return end
    local is_out = count_ends(b, x, x.n[24], x.n[25])
    if how == THROTTLE then
        if b.st ~= PROBING then learn_refusal(b, c, x) end
        close(b, c, x, THROTTLE, ms)
    elseif how == EXHAUSTED then close(b, c, x, EXHAUSTED, ms)
    elseif b.st == PROBING then
        if probe == 1 then
            b.st, b.since = RAMPING, x.now
            for d = 7, 10 do b[d] = math.min(b[d], 0) end
        elseif probe == 2 then close(b, c, x, b.why, ms)
        elseif probe == 3 then b.st, b.till = CLOSED, b.why == OUTAGE and math.max(x.now, b.since + 5000) or x.now end
    elseif is_out then close(b, c, x, OUTAGE, ms) end
end

-- How much of the limits holds now: 1, or less after a close.
local function share_of(b, now)
    if b.st ~= RAMPING then return 1 end
    local share = 0.15 * 1.5 ^ math.floor((now - b.since) / 2000)
    if share >= 1 then
        b.st, b.since = OPEN, now
        return 1
    end
    return share
end

-- Flows ----------------------------------------------------------------------------------------------------------------------
-- An entry: virtual time, use of the last ten seconds (fading), its time, asked when, weight. Of a group the state holds: weights,
-- use, its time, least virtual time of those that asked within a second.

local function scan_flows(b, g, key, now)
    local all = redis.call('HGETALL', key)
    local gone = {}
    for i = 0, GROUPS - 1 do g[i * 4 + 1], g[i * 4 + 4] = 0, 0 end
    b.many = 0
    for i = 1, #all, 2 do
        local e, group = numbers(all[i + 1], 5), tonumber(all[i]:sub(1, 1)) * 4
        if now - e[3] > MINUTE then gone[#gone + 1] = all[i]
        else
            g[group + 1] = g[group + 1] + e[5]
            if now - e[4] <= 1000 and (g[group + 4] == 0 or e[1] < g[group + 4]) then g[group + 4] = e[1] end
            if group > 0 then b.many = b.many + 1 end
        end
    end
    for i = 1, #gone, 64 do redis.call('HDEL', key, unpack(gone, i, math.min(i + 63, #gone))) end
    b.flat = now
end

-- One flow that a worker tells of; returns its rank.
local function flow(g, e, group, served, waits, now)
    local at, w = group * 4, e[5]
    g[at + 2] = math.max(0, g[at + 2] * math.exp((g[at + 3] - now) / 10000) + served)
    e[2] = math.max(0, e[2] * math.exp((e[3] - now) / 10000) + served)
    g[at + 3], e[3] = now, now
    local least = g[at + 4]
    if now - e[4] > 1000 and e[1] < least then e[1] = least end
    e[1] = e[1] + served / w
    if waits then e[4] = now end
    local all = math.max(g[at + 1], w)
    if e[2] * all <= g[at + 2] * w then return 0 end
    return least > 0 and e[1] - least > g[at + 2] / 10 / all and 2 or 1
end

local function flows(b, c, x, key, at, n)
    local names, ranks = {}, {}
    if n == 0 then return ranks end
    local g = numbers(redis.call('HGET', key, ''), GROUPS * 4)
    if x.now - b.flat > 500 then
        redis.call('HDEL', key, '')
        scan_flows(b, g, key, x.now)
    end
    for i = 1, n do names[i] = x.args[at + i * 5 - 4] .. x.args[at + i * 5 - 5] end
    local got, list, room = redis.call('HMGET', key, unpack(names)), {'', 0}, redis.call('HLEN', key) + n < FLOWS
    for i = 1, n do
        local from = at + i * 5 - 5
        local group, weight = x.n[from + 1], math.max(1, x.n[from + 2])
        if got[i] or room then
            local e = got[i] and numbers(got[i], 5) or {g[group * 4 + 4], 0, x.now, 0, weight}
            e[5] = weight
            ranks[i] = flow(g, e, group, x.n[from + 3], x.n[from + 4] == 1, x.now)
            list[#list + 1], list[#list + 2] = names[i], table.concat(e, ' ')
        else
            ranks[i] = 1
        end
    end
    list[2] = table.concat(g, ' ')
    if redis.call('HSET', key, unpack(list)) > 0 then redis.call('PEXPIRE', key, 120000) end
    return ranks
end

-- Workers --------------------------------------------------------------------------------------------------------------------

local function scan_workers(b, key, now)
    local all = redis.call('HGETALL', key)
    b.fl, b.wk, b.wat = 0, 0, now
    for i = 1, #all, 2 do
        local e = numbers(all[i + 1], 3)
        local young = now - e[2] < 30000
        if young or redis.call('EXISTS', 'w:' .. all[i]) == 1 then b.fl = b.fl + e[1]
        else redis.call('HDEL', key, all[i]) end
        if young then b.wk = b.wk + 1 end
    end
end
