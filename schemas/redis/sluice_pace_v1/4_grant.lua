-- Part 4: what a trade tells is booked, then what may go is leased: the first call of each rank, as many more as fit.

-- What is told ---------------------------------------------------------------------------------------------------------------

-- Corrections, and output that is made. Order: what a worker was granted is read and written in whole slots.
-- The day of a call that went before midnight is over: what comes back of it is not today's. (A lease is used within a second.)
local function settle(b, w, x, at, n)
    local list, now_slot = {}, math.floor((x.now - WAY) / SLOT)
    local dawn = x.now - (x.now - b.off) % 86400000
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
            local requests, spend = x.n[from + 2], x.n[from + 8]
            if s * SLOT - 1000 < dawn then requests, spend = math.max(0, requests), math.max(0, spend) end
            b.dr, b.du = math.max(0, b.dr + requests), math.max(0, b.du + spend)
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
