-- Part 2: the limits in force (configured, told by the provider, learnt from refusals), and what strangers use of them.

-- Limits ---------------------------------------------------------------------------------------------------------------------
-- c: 1..4 configured, 5..8 when; 9..12 told, 13..16 when; 17..20 use of strangers, 21..24 when, 25..28 fades over; 29..32 empty
-- until; 33..36 learnt, 37..40 what was counted at the refusal that taught it (0: still seeking); 41..43 a day, concurrency,
-- spend, 44..46 when; 47 quantum, 48 1: learn is off (as the last trade said, for view() to know); 49 last refusal that could
-- teach, 50 how long what it taught stays. In the state: grown, given: learnt limits looked at when, granted since.

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
