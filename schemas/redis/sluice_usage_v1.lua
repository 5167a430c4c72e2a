#!lua name=sluice_usage_v1
-- Usage: counters a tenant and day, added to by batches of rows. The shape of keys and fields is told in schemas/fn_usage.h,
-- which is this library's only caller. A batch is one call, so all of it counts or nothing does; its number, kept in the same
-- call, makes a repeat harmless. A row is one field with its six counts in one text: a tenth of the memory and of the commands
-- that a field a count would take. Numbers are exact up to 2^53.

local COUNTS = 6

-- The counts of a text ("1,2,3,4,5,6"); zeros where there is none.
local function counts_of(text)
    local c, i = {0, 0, 0, 0, 0, 0}, 0
    for n in (text or ''):gmatch('%d+') do
        i = i + 1
        c[i] = tonumber(n)
    end
    return c
end

local function text_of(c)
    return ('%.0f,%.0f,%.0f,%.0f,%.0f,%.0f'):format(c[1], c[2], c[3], c[4], c[5], c[6])
end

-- Adds the counts at args[at + 1] .. to a field.
local function add_to(key, field, stored, args, at)
    local c = counts_of(stored)
    for i = 1, COUNTS do c[i] = c[i] + tonumber(args[at + i]) end
    redis.call('HSET', key, field, text_of(c))
end

-- Adds a row to a hash. The total is there from the first row on, so a hash without one is new and is given its end.
local function add_row(key, field, args, at, ceiling, ends_at)
    local call = redis.call
    local h = call('HMGET', key, field, 't')
    if not h[1] and call('HLEN', key) >= ceiling then
        field = '|'
        h[1] = call('HGET', key, field)
    end
    add_to(key, field, h[1], args, at)
    add_to(key, 't', h[2], args, at)
    if not h[2] then call('PEXPIREAT', key, ends_at) end
end

-- Tokens and micro-dollars of a hash, with what a wipe took. What a worker heard before stands at args[at + 1], args[at + 2]:
-- when that is more, the difference is kept in z.
local function total_of(key, args, at, ends_at)
    local h = redis.call('HMGET', key, 't', 'z')
    local c = counts_of(h[1])
    local tokens, microusd = c[2] + c[4], c[5]
    local tokens_lost, microusd_lost = (h[2] or '0,0'):match('^(%d+),(%d+)$')
    tokens_lost, microusd_lost = tonumber(tokens_lost), tonumber(microusd_lost)
    local more_tokens, more_microusd = tonumber(args[at + 1]) - tokens, tonumber(args[at + 2]) - microusd
    if more_tokens > tokens_lost or more_microusd > microusd_lost then
        tokens_lost = math.max(tokens_lost, more_tokens)
        microusd_lost = math.max(microusd_lost, more_microusd)
        redis.call('HSET', key, 'z', ('%.0f,%.0f'):format(tokens_lost, microusd_lost))
        if not h[1] and not h[2] then redis.call('PEXPIREAT', key, ends_at) end
    end
    return tokens + tokens_lost, microusd + microusd_lost
end

-- keys: sequence, since, then the hashes; args: seq ceiling rows totals, then each hash's end (ms), then rows: index of the
-- tenant's hash, index of the hash of all (from 1), field, six counts; then totals: index of the hash, tokens, microusd heard
local function add(keys, args)
    local call, seq, ceiling = redis.call, tonumber(args[1]), tonumber(args[2])
    local rows, totals = tonumber(args[3]), tonumber(args[4])
    local hashes = #keys - 2
    local at, answer = 4 + hashes, {0}
    local last = tonumber(call('GET', keys[1]) or '0')
    if seq <= last then answer[1] = 1 end
    for _ = 1, rows do
        if seq > last then
            local own, all = tonumber(args[at + 1]), tonumber(args[at + 2])
            add_row(keys[2 + own], args[at + 3], args, at + 3, ceiling, args[4 + own])
            add_row(keys[2 + all], args[at + 3], args, at + 3, ceiling, args[4 + all])
        end
        at = at + 3 + COUNTS
    end
    if seq > last and rows > 0 then
        local t = call('TIME')
        call('SET', keys[2], ('%.0f'):format(tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)), 'NX')
        call('SET', keys[1], args[1], 'PX', '86400000')
    end
    for _ = 1, totals do
        local own = tonumber(args[at + 1])
        answer[#answer + 1], answer[#answer + 2] = total_of(keys[2 + own], args, at + 1, args[4 + own])
        at = at + 3
    end
    return answer
end

redis.register_function('sluice_usage_v1_add', add)
