#!lua name=sluice_pace_v1

-- What a fleet may ask of a provider within any minute: one budget, one function that changes it (trade) and one that shows it.
-- schemas/fn_pace.h says what a trade carries, schemas/fn_pace.c writes it; consumer/pacing.md is the page for people.
--
-- * Window: what is granted is kept in slots of 250 ms, under the moment when it is used at the latest, and forgotten a minute
--   and the length of the way later. So whatever algorithm the provider has, no 60 s of its clock hold more than the limit.
--   Output counts when it is made: it is kept under the moment when it is expected and moved to the present when it is settled.
--   What is granted but not settled is uncertain: SURE deviations are left free.
-- * Smoothness: a bucket a dimension, 2 % of the minute deep, filled a little faster than the limit allows.
-- * States: OPEN -> CLOSED -> PROBING (one call) -> RAMPING -> OPEN. Every close raises gen; verdicts about calls of an older
--   gen are void, so a storm of refusals is one close.
-- * Clock: that of the server, but it never goes back, and never faster than the caller's own.
-- * A trade sent twice is counted once: its number stands in the worker's entry.
--
-- Dimensions 1 requests, 2 input, 3 output, 4 tokens (combined); an amount has also 5, 6 variances of input and output and 7
-- micro dollars. The hash: s the state (NAMES), d what of it changes seldom (SELDOM), c limits (list, see limits()). Plain Lua 5.1 and redis.call alone: the
-- simulation runs this very file. No loop is longer than its arguments or a ceiling named here; all numbers are whole or small.

local SLOT, MINUTE, WAY, TOLD, STEP = 250, 60000, 150, 600000, 15000
local OPEN, CLOSED, PROBING, RAMPING = 0, 1, 2, 3
local THROTTLE, OUTAGE, EXHAUSTED = 1, 2, 3
local RATE, SHUT, CROWD, DAY, SPEND = 1, 2, 3, 4, 5
local FLOWS, GROUPS, LIMITS = 512, 9, 50
local SURE = 4.3 -- deviations of what is not certain that are left free, beside what the length of the way leaves
local FULL = 1e15 -- a bucket whose size is not known yet
-- 1..6 sums of the window, 7..10 levels of the buckets
local NAMES = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 'at', 'seen', 'head', 'tail', 'ep', 'early', 'least', 'turn', 'dr', 'du', 'fl',
    'given', 'k0', 'run'}
local SELDOM = {'off', 'born', 'half', 'st', 'why', 'till', 'gen', 'tries', 'since', 'f0', 'f1', 'k1', 'fat', 'day', 'wk', 'wat',
    'closes', 'refused', 'kept', 'flat', 'many', 'grown'}

-- The state ------------------------------------------------------------------------------------------------------------------

local function numbers(text, n)
    local list, i = {}, 0
    for x in (text or ''):gmatch('%S+') do
        i = i + 1
        list[i] = tonumber(x)
    end
    for k = i + 1, n do list[k] = 0 end
    return list
end

-- Reading the state takes longer than all else, so the last one of each budget is kept, with the text it was read from: it is
-- used only where that text still stands in Redis, and never after an error. memo.n: how many.
local memo, often = {n = 0}, {}

local function load(key, is_view)
    local h = redis.call('HMGET', key, 's', 'd', 'c')
    local m = memo[key]
    if m and m.s == h[1] and m.d == h[2] and m.c == h[3] and not is_view then
        memo[key], memo.n = nil, memo.n - 1
        return m
    end
    local list, other, b = numbers(h[1], #NAMES), numbers(h[2], #SELDOM), {}
    for i = 1, #NAMES do b[NAMES[i]] = list[i] end
    for i = 1, #SELDOM do b[SELDOM[i]] = other[i] end
    return {b = b, limits = numbers(h[3], LIMITS), s = h[1], d = h[2], c = h[3], was = other}
end

local function save(key, m)
    local b, was, changed = m.b, m.was, not m.d
    for i = 1, #NAMES do often[i] = b[NAMES[i]] end
    for i = 1, #SELDOM do
        local n = b[SELDOM[i]]
        if n ~= was[i] then was[i], changed = n, true end
    end
    m.s = table.concat(often, ' ')
    if changed then m.d = table.concat(was, ' ') end
    if m.is_changed or not m.c then
        m.c, m.is_changed = table.concat(m.limits, ' '), false
        redis.call('HSET', key, 's', m.s, 'd', m.d, 'c', m.c)
    elseif changed then
        redis.call('HSET', key, 's', m.s, 'd', m.d)
    else
        redis.call('HSET', key, 's', m.s)
    end
    if memo.n >= 64 then
        for k in pairs(memo) do memo[k] = nil end
        memo.n = 0
    end
    memo[key], memo.n = m, memo.n + (memo[key] and 0 or 1)
end

-- The time of this budget: never back, and since the caller's last answer no further than the caller's own clock says.
local function clock(b, known, since)
    local t = redis.call('TIME')
    local wall = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
    local now = wall + b.off
    if b.at > 0 and now < b.at then now = b.at
    elseif known and now - b.at > since + 1000 then now = b.at end -- it jumped: how much was real nobody knows
    b.off = now - wall
    return now, math.floor(wall / 86400000)
end

-- Begun anew: first use, a wipe, or a Redis that came back with an old copy.
local function begin(b, now)
    for i = 1, 6 do b[i] = 0 end
    for i = 7, 10 do b[i] = FULL end
    b.born, b.head = now, math.floor((now - MINUTE - WAY) / SLOT)
    b.tail, b.ep, b.early, b.half = b.head, b.head, 0, 0
end

-- The window -----------------------------------------------------------------------------------------------------------------

local function entry(text)
    if not text then return {0, 0, 0, 0, 0, 0} end
    local r, i, o, t, vi, vo = text:match('^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+)')
    return {tonumber(r), tonumber(i), tonumber(o), tonumber(t), tonumber(vi), tonumber(vo)}
end

-- Calls each(slot, entry) for the slots of [from, to) that are there; at most 64 a time.
local function each_slot(key, from, to, each)
    for first = from, to - 1, 64 do
        local names, last = {}, first + 63 < to - 1 and first + 63 or to - 1
        for s = first, last do names[#names + 1] = s end
        local got = redis.call('HMGET', key, unpack(names))
        for i = 1, #names do
            if got[i] then each(names[i], entry(got[i])) end
        end
    end
end

-- just_look: the state will not be stored, so nothing is deleted.
local function expire(b, key, now, just_look)
    local head = math.floor((now - MINUTE - WAY) / SLOT)
    if head <= b.head then return end
    if head > b.tail then
        if not just_look then redis.call('DEL', key) end
        for i = 1, 6 do b[i] = 0 end
        b.early, b.ep, b.tail = 0, head, head
    else
        local gone = {}
        each_slot(key, b.head, head, function(s, e)
            for i = 1, 6 do b[i] = b[i] - e[i] end
            if s < b.ep then b.early = b.early - e[3] end
            gone[#gone + 1] = s
        end)
        for i = 1, just_look and 0 or #gone, 64 do redis.call('HDEL', key, unpack(gone, i, math.min(i + 63, #gone))) end
        if b.ep < head then b.ep, b.early = head, 0 end
    end
    b.head = head
end

-- early: output that will be forgotten before a call that starts now can have made its own.
local function look_ahead(b, key, now, least)
    if least > MINUTE then least = MINUTE end
    b.least = math.floor(b.least + (least - b.least) / 8)
    local want = math.floor((now + b.least - MINUTE - WAY) / SLOT)
    local from, to, sign = b.ep, math.min(want, b.ep + 64), 1
    if want < b.ep then from, to, sign = math.max(want, b.head, b.ep - 64), b.ep, -1 end
    if from < to then
        each_slot(key, from, to, function(_, e) b.early = b.early + sign * e[3] end)
        b.ep = sign > 0 and to or from
    end
end

-- Slots that a trade reads and changes: read once, written once.
local function slot(w, s)
    local e = w.have[s]
    if not e then
        e = entry(redis.call('HGET', w.key, s))
        w.have[s] = e
    end
    return e
end

local function fetch(w, list)
    if #list == 0 then return end
    local got = redis.call('HMGET', w.key, unpack(list))
    for i = 1, #list do w.have[list[i]] = entry(got[i]) end
end

-- Adds n to dimension i of a slot; nothing there goes below zero, whatever a worker gives back. Returns what was added.
local function put(b, w, s, i, n)
    if n == 0 or s < b.head then return 0 end
    local e = slot(w, s)
    if e[i] + n < 0 then n = -e[i] end
    e[i], b[i] = e[i] + n, b[i] + n
    if i == 3 and s < b.ep then b.early = b.early + n end
    if s > b.tail then b.tail = s end
    w.dirty[s] = e
    return n
end

local function store(w)
    local list, n = {}, 0
    for s, e in pairs(w.dirty) do
        list[n + 1], list[n + 2], n = s, table.concat(e, ' '), n + 2
    end
    if n > 0 and redis.call('HSET', w.key, unpack(list)) > 0 then redis.call('PEXPIRE', w.key, 300000) end
end

-- Limits ---------------------------------------------------------------------------------------------------------------------
-- c: 1..4 configured, 5..8 when; 9..12 told, 13..16 when; 17..20 use of strangers, 21..24 when, 25..28 fades over; 29..32 empty
-- until; 33..36 learnt, 37..40 what was counted at the refusal that taught it (0: still seeking); 41..43 a day, concurrency,
-- spend, 44..46 when; 49 last refusal that could teach, 50 how long what it taught stays. grown, given: learnt limits looked at when, granted since.

-- Several configurations: the smallest of the last minute holds.
local function configured(x, c, at, when, n, now)
    if n == c[at] and now - c[when] < 10000 then return end
    if n == 0 and now - c[when] < MINUTE then return end
    if c[at] == 0 or (n > 0 and n <= c[at]) or now - c[when] >= MINUTE then
        c[at], c[when], x.m.is_changed = n, now, true
    end
end

local function told(c, d, now)
    return now - c[12 + d] < TOLD and c[8 + d] or 0
end

-- The limits in force. While nothing is known, requests are counted against a limit that is being sought.
local function limits(b, c, x)
    local known, L = false, {}
    for d = 1, 4 do
        local n, t = c[d], x.learns and told(c, d, x.now) or 0
        if t > 0 and (n == 0 or t < n) then n = t end
        known = known or n > 0
        L[d] = n
    end
    if x.learns then
        if known and c[37] == 0 and c[33] > 0 then c[33], x.m.is_changed = 0, true
        elseif not known and c[33] == 0 then
            c[33], c[37], b.grown, b.given = c[9] > 0 and c[9] or x.start, 0, x.now, 0
            x.m.is_changed = true
        end
        for d = 1, 4 do
            local n = c[32 + d]
            if n > 0 and (L[d] == 0 or n < L[d]) then L[d] = math.max(1, math.floor(n)) end
        end
    end
    if x.now < b.half then
        for d = 1, 4 do L[d] = math.ceil(L[d] / 2) end
    end
    return L, known
end

-- What was learnt from refusals grows while it is used: fast while seeking, slowly up to where the refusal came, then it stays
-- for five minutes before it tries to go beyond.
local function grow(b, c, x)
    if x.now - b.grown < STEP then return end
    local sought = c[33] * (x.now - b.grown) / MINUTE
    for d = 1, 4 do
        local n, ceiling = c[32 + d], c[36 + d]
        local used = ceiling == 0 and b.given >= 0.8 * sought or ceiling > 0 and b[d] >= 0.8 * n
        if n > 0 and used and b.st == OPEN then
            if ceiling == 0 then n = n * 1.25
            elseif n < 0.97 * ceiling then n = math.min(n * 1.02, 0.97 * ceiling)
            elseif x.now - c[49] > math.max(300000, c[50]) then
                n = n * 1.02
                if n > 1.05 * ceiling then c[36 + d] = 0 end
            end
            x.m.is_changed = true
            c[32 + d] = (c[d] > 0 and n >= c[d]) and 0 or math.min(n, 1e12)
        end
    end
    b.grown, b.given = x.now, 0
end

-- A refusal for speed while the provider does not say its limits. Limits that somebody configured are only doubted at the second.
local function learn_refusal(b, c, x)
    x.m.is_changed = true
    local again, hold = x.now - c[49], 0
    for d = 1, 4 do
        local base, count = x.L[d], b[d]
        local silent = told(c, d, x.now) == 0
        local likely = again < 2 * MINUTE
        if x.known then likely = likely and base > 0 and count >= 0.5 * base
        else likely = likely or b[1] >= 0.5 * x.L[1] end
        if silent and likely and count > 0 then
            local old, part = c[36 + d], 0.9
            if old > 0 and again < MINUTE then part = 0.65
            elseif old > 0 and math.abs(count - old) < 0.1 * old then
                part, hold = 0.95, math.min(3600000, math.max(600000, 2 * c[50]))
            end
            c[32 + d] = math.max(1, part * count)
            c[36 + d] = part < 0.9 and count * part / 0.9 or count
        end
    end
    b.grown, b.given, c[49], c[50] = x.now, 0, x.now, hold
end

-- The provider's own words: limit, remaining, reset a dimension; -1 not told.
local function learn_told(b, c, x, at)
    x.m.is_changed = true
    for d = 1, 4 do
        local limit, left, reset = x.n[at], x.n[at + 1], x.n[at + 2]
        at = at + 3
        if limit > 0 then c[8 + d], c[12 + d], c[32 + d], c[36 + d] = limit, x.now, 0, 0 end
        local base = told(c, d, x.now)
        if base == 0 then base = c[d] end
        if left >= 0 and left <= base then
            local f = base - b[d] - left
            if f > 0.02 * base then f = f + 0.015 * b[d] end -- what is not there yet of ours was not counted by the provider
            c[16 + d], c[20 + d] = math.max(0, math.floor(f)), x.now
            c[24 + d] = reset > 0 and math.max(5000, math.min(reset, 300000)) or MINUTE
            c[28 + d] = left == 0 and reset > 0 and x.now + reset or 0
        end
    end
end

local function foreign(c, d, now)
    local f = c[16 + d]
    if f <= 0 then return 0 end
    local age = now - c[20 + d] - 2000 -- while there is news, it does not fade
    local left = age > 0 and 1 - age / c[24 + d] or 1
    return left > 0 and math.floor(f * left) or 0
end

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

-- What is told ---------------------------------------------------------------------------------------------------------------

-- Corrections, and output that is made. Order: what a worker was granted is read and written in whole slots.
local function settle(b, w, x, at, n)
    local list, now_slot = {}, math.floor((x.now - WAY) / SLOT)
    local far = math.floor(x.now / SLOT) + 1000
    for i = 0, n - 1 do list[i * 2 + 1], list[i * 2 + 2] = x.n[at + i * 9], x.n[at + i * 9 + 1] end
    if x.n[20] > 0 then list[#list + 1] = now_slot end
    fetch(w, list)
    for i = 0, n - 1 do
        local from = at + i * 9
        local s, o = list[i * 2 + 1], list[i * 2 + 2]
        if s < far and o < far then
            for d = 1, 6 do
                local delta = put(b, w, (d == 3 or d == 6) and o or s, d, x.n[from + 1 + d])
                if d < 5 then b[6 + d] = b[6 + d] - delta end
            end
            b.dr, b.du = math.max(0, b.dr + x.n[from + 2]), math.max(0, b.du + x.n[from + 8])
        end
    end
    b[9] = b[9] - put(b, w, now_slot, 3, x.n[20])
end

-- Use that this budget does not know of. Where it was begun anew, or nobody was heard of for a while, others may have to tell
-- as well: until a minute has passed nobody can be sure that all was told.
local function history(b, w, x, at, n)
    if n == 0 then return end
    if b.born == x.now or x.now - x.was_at > 2000 or x.now - b.born < 2000 then b.half = x.now + MINUTE end
    for i = 0, n - 1 do
        for d = 1, 4 do put(b, w, math.floor((x.now - i * 5000) / SLOT), d, x.n[at + i * 4 + d - 1]) end
    end
end

-- Granting -------------------------------------------------------------------------------------------------------------------

-- A provider that counts in quanta forgives nothing: what may come together because leases and the way take their time
-- is not granted together. Where a quantum holds hardly one call, calls are that much further apart.
local function quanta(limit, quantum)
    local rate = limit / MINUTE
    local burst = rate * math.max(quantum - WAY, quantum / 2)
    if burst < 1 then rate = rate / (2 - burst) end
    return rate, burst
end

local function refill(b, x)
    local passed, share, L, D = x.now - x.was_at, x.share, x.L, {}
    local rates, bursts, keeps, levels = {}, {}, {}, {}
    for d = 1, 4 do
        local limit = L[d]
        if limit > 0 then
            local rate, burst = limit * 1.05 / MINUTE, limit * 0.02
            if x.quantum > 0 then rate, burst = quanta(limit, x.quantum) end
            if burst < 1 then burst = 1 end
            local level = b[6 + d] + passed * rate * share
            if level > burst then level = burst end
            b[6 + d] = level
            rates[d], bursts[d], levels[d] = rate * share, burst, level
            keeps[d] = b.many > 1 and math.floor(limit * 0.01 + 0.5) or 0
            D[#D + 1] = d
        end
    end
    x.D, x.rate, x.burst, x.keep, x.level, x.room, x.fades = D, rates, bursts, keeps, levels, {}, {}
end

-- Room in the window, uncertainty (with that of `more`) taken off.
local function rooms(b, c, x, vi, vo)
    for i = 1, #x.D do
        local d = x.D[i]
        local limit, used = x.L[d], b[d]
        if d == 2 then used = used + SURE * math.sqrt(math.max(0, b[5] + vi))
        elseif d == 3 then used = used + SURE * math.sqrt(math.max(0, b[6] + vo)) - b.early end
        local f, t = foreign(c, d, x.now), told(c, d, x.now)
        x.room[d] = limit - used
        if f > 0 then
            x.room[d] = math.min(x.room[d], (t > 0 and t or limit) - f - used)
            x.fades[d] = c[24 + d] / c[16 + d] -- ms until strangers' use is less by one
        end
    end
end

-- May the first call of rank q go? If not, notes what lacks.
local function fits(b, x, first, q)
    for i = 1, #x.D do
        local d = x.D[i]
        local need, keep = math.min(first[d], x.L[d]), q * x.keep[d]
        local level = math.min(need + keep, x.burst[d])
        if x.room[d] < need + keep and (x.fades[d] or b[d] + x.lease[d] > 0) then
            x.lack_d, x.lack = d, need + keep - x.room[d]
            return false
        end
        if x.level[d] < level then
            x.wait = math.ceil((level - x.level[d]) / x.rate[d])
            return false
        end
    end
    return true
end

local function grant(b, x, q, n, first, all)
    if x.calls < 1 or not fits(b, x, first, q) then return end
    local k = math.min(n, x.calls)
    for i = 1, #x.D do
        local d = x.D[i]
        if all[d] > 0 then
            local have = math.min(x.room[d], x.level[d]) - q * x.keep[d]
            k = math.min(k, math.floor(have * n / all[d]))
        end
    end
    if k < 1 then k = 1 end
    for d = 1, 7 do
        local n_d = k == n and all[d] or k == 1 and first[d] or math.max(first[d], math.ceil(all[d] * k / n))
        x.lease[d] = x.lease[d] + n_d
        if d < 5 and x.L[d] > 0 then x.room[d], x.level[d] = x.room[d] - n_d, x.level[d] - n_d end
    end
    x.calls = x.calls - k
end

-- How many calls one lease may hold: 100 ms of the budget, but one; what a day, the money and the crowd allow. Returns the
-- reason and the wait where that is nothing.
local function ceiling(b, c, x, total)
    local calls, pace = total[1], 1e9
    for i = 1, #x.D do
        local d = x.D[i]
        if total[d] > 0 then pace = math.min(pace, x.L[d] * total[1] / total[d] / MINUTE) end
    end
    x.pace = pace * x.share
    calls = math.min(calls, math.max(1, math.floor(x.pace * 100)))
    local midnight = 86400000 - (x.now - b.off) % 86400000
    if c[41] > 0 and c[41] - b.dr < calls then calls = c[41] - b.dr end
    if calls < 1 then return DAY, midnight end
    if c[43] > 0 and b.du + total[7] / total[1] > c[43] then return SPEND, midnight end
    if c[43] > 0 and total[7] > 0 then calls = math.min(calls, math.floor((c[43] - b.du) * total[1] / total[7])) end
    if c[42] > 0 and c[42] - b.fl < calls then calls = c[42] - b.fl end
    if calls < 1 then return CROWD, 100 end
    x.calls = calls
end

-- Whether the state lets anybody through; x.probe: one call alone. Returns the wait if not.
local function gate(b, x)
    if b.st == CLOSED then
        if x.now < b.till then return b.till - x.now end
        x.probe = true
    elseif b.st == PROBING then
        if x.now < b.since + 30000 then return 500 end
        x.probe = true
    end
end

-- When enough of the window will have been forgotten: by the slots that are next.
local function wait_of_window(b, x, w)
    local d, need, ahead = x.lack_d, x.lack, 0
    local fading = x.fades[d] and math.ceil(math.min(need * x.fades[d], 1000)) -- and news may come sooner
    if fading and b[d] <= 0 then return fading end
    local from = b.head
    if d == 3 then from, ahead = b.ep, b.least end
    local last, to = from, math.min(from + 8, b.tail + 1)
    local function look(s, e)
        if need > 0 then need, last = need - e[d], s end
    end
    each_slot(w.key, from, to, look)
    if need > 0 then each_slot(w.key, to, math.min(to + 56, b.tail + 1), look) end
    if need > 0 then last = math.min(from + 64, b.tail + 1) end
    local wait = (last + 1) * SLOT + MINUTE + WAY - ahead - x.now
    return fading and math.min(fading, wait) or wait
end

-- Half of what may go at once is there.
local function plenty(x)
    for i = 1, #x.D do
        local d = x.D[i]
        if x.level[d] < x.burst[d] / 2 or x.room[d] < x.burst[d] / 2 then return false end
    end
    return true
end

-- Refused workers come back one after the other, each when there is enough for some calls; sooner while more is there than is
-- asked for.
local function queue(b, x, wait)
    local step = math.min(5000, math.max(1 / x.pace, math.min(50, 8 / x.pace)))
    step = math.ceil(plenty(x) and step / 2 or step)
    local at = x.now + math.max(wait == 0 and step or 5, math.min(wait, 5000))
    x.eta = wait
    if x.turn > x.now then -- it came before its turn, to tell something: it does not lose it by that
        x.turn = math.max(at, math.min(x.turn, b.turn, at + step * math.max(1, b.wk)))
        return x.turn - x.now
    end
    if wait > 0 and x.turn > 0 and x.now - x.turn < 1000 then -- it came in its turn and a little is lacking: it stays first
        x.turn, b.turn = at, math.max(b.turn, at + step)
        return at - x.now
    end
    b.turn = math.max(at, math.min(b.turn, at + step * math.max(1, b.wk)))
    x.turn = b.turn
    b.turn = b.turn + step
    return x.turn - x.now
end

local function amounts(x, at, calls)
    local first, all = {calls > 0 and 1 or 0}, {calls}
    for d = 2, 7 do first[d], all[d] = x.n[at + d - 2], x.n[at + d + 4] end
    return first, all
end

-- The demand of each rank in turn. Returns reason, wait.
local function lease(b, c, x, w, at)
    local ask, total = {}, {0, 0, 0, 0, 0, 0, 0}
    for q = 0, 2 do
        local n = x.n[30 + q]
        if n > 0 then
            local first, all = amounts(x, at, n)
            at = at + 12
            ask[#ask + 1] = {q, n, first, all}
            for d = 1, 7 do total[d] = total[d] + all[d] end
        end
    end
    if total[1] == 0 then return 0, 0 end
    local wait = gate(b, x)
    if wait then return SHUT, wait end
    local reason
    reason, wait = ceiling(b, c, x, total)
    if reason then return reason, wait end
    if x.probe then x.calls = 1 end
    local part = math.min(1, x.calls / total[1])
    rooms(b, c, x, total[5] * part, total[6] * part)
    for i = 1, #ask do grant(b, x, unpack(ask[i])) end
    if x.lease[1] == total[1] then return 0, 0 end
    if x.lease[1] > 0 then return RATE, queue(b, x, 0) end -- not all: more is there at its next turn
    return RATE, queue(b, x, x.lack_d and wait_of_window(b, x, w) or x.wait)
end

-- Books the lease: under the moment of its latest use, output under that of its making.
local function book(b, c, x, w)
    local ttl = (plenty(x) and x.quantum == 0 and 500 or 100) + math.min(2 * x.n[19], 400)
    local s = math.floor((x.now + ttl) / SLOT)
    local o = x.L[3] > 0 and math.floor((x.now + ttl + math.min(x.n[27], 120000)) / SLOT) or s
    for d = 1, 6 do put(b, w, (d == 3 or d == 6) and o or s, d, x.lease[d]) end
    for i = 1, #x.D do b[6 + x.D[i]] = b[6 + x.D[i]] - x.lease[x.D[i]] end
    b.dr, b.du, b.given = b.dr + x.lease[1], b.du + x.lease[7], b.given + x.lease[1]
    if x.probe then b.st, b.since = PROBING, x.now end
    return ttl, s, o
end

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
    local asked = table.concat(x.args, ' ', 8, 14)
    if asked ~= x.m.asked or x.now - x.m.asked_at > 5000 then
        for d = 1, 4 do configured(x, c, d, 4 + d, x.n[7 + d], x.now) end
        for d = 1, 3 do configured(x, c, 40 + d, 43 + d, x.n[11 + d], x.now) end
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
    local x = {m = m, learns = true, start = math.max(c[33], 1)}
    local _, today = clock(b, false, 0)
    x.now = redis.call('TIME')[1] * 1000 + b.off
    if x.now < b.at then x.now = b.at end
    expire(b, keys[2], x.now, true)
    local L = limits(b, c, x)
    local share = share_of(b, x.now)
    local day, is_fresh, w = today == b.day, x.now - b.fat < 10000, {key = keys[2]}
    x.L, x.share, x.quantum, x.was_at = L, share, 0, b.at
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
