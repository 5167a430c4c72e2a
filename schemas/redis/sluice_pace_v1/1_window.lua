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
-- Parts, joined in the order of their names into one library (one chunk: a local is known in all later parts): 1_window the
-- state and the last minute; 2_limits; 3_states with flows and workers; 4_grant; 5_trade the two functions.
--
-- Dimensions 1 requests, 2 input, 3 output, 4 tokens (combined); an amount has also 5, 6 variances of input and output and 7
-- micro dollars. The hash: s the state (NAMES), d what of it changes seldom (SELDOM), c limits (a list: 2_limits says what stands
-- where). Plain Lua 5.1 and redis.call alone: the simulation runs this very text. No loop is longer than its arguments or a
-- ceiling named here; all numbers are whole or small.

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
