#!lua name=sluice_v1

-- The transitions of a job's view in Redis, each whole or not at all. schemas/fn.h says what every call means, schemas/fn*.c
-- writes the arguments and reads the answers; this page says how the races end.
--
-- * One meta hash a job. `st` present = an entry; `rs` = only reserved (keyed submission before its record is written).
--   Counts (q) change in two places: create() counts up, finish() counts down what create() counted.
-- * `ep` orders the owners: whoever asks with a lower one is FENCED. An owner with a higher one than stored lived through a
--   loss of ours and puts its job back (restore).
-- * `ow`: absent = nobody ever, or a rebuild that does not know; "" = given back cleanly; else the incarnation.
-- * A takeover is any acquire that cannot prove that no other writer is left: an owner stands, a rebuild passed (`tk`), or
--   the log knows a higher epoch than we do.
-- * Stream ids are <epoch>-<seq>, always explicit; the stream is written with its meta, so sq is its last seq. A stream that
--   is gone under a live meta is a GAP, answered before anything is changed.
--
-- Plain Lua 5.1 and redis.call alone: the simulation runs this very file. No loop is longer than its arguments. While it is
-- loaded a library sees no globals, so nothing of string or math can be kept in a local.

local OK, FENCED, GONE, GAP, ENDED = 0, 1, 2, 3, 4
local LEASE_OK, LEASE_BUSY, LEASE_ENDED, LEASE_UNBUILT = 0, 1, 2, 3
local CREATED, EXISTS, OTHER_PAYLOAD, UNBUILT = 0, 1, 2, 3
local RESERVE_MS = '60000'
local is_end = {succeeded = true, failed = true, canceled = true, expired = true}

local function now_ms()
    local t = redis.call('TIME')
    return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

-- "k\31v\31k\31v" as a list.
local function unpacked(packed)
    local list, n = {}, 0
    for s in packed:gmatch('[^\31]+') do
        n = n + 1
        list[n] = s
    end
    return list
end

-- The index, and now and then a few of its oldest entries beyond retention: up to 64 each 16th id, so it shrinks faster than
-- it grows.
local function index(ix, id, cr, cutoff)
    redis.call('ZADD', ix, cr, id)
    if tonumber(id:sub(-2), 16) % 16 == 0 then
        local old = #redis.call('ZRANGEBYSCORE', ix, '-inf', cutoff, 'LIMIT', 0, 64)
        if old > 0 then redis.call('ZREMRANGEBYRANK', ix, 0, old - 1) end
    end
end

-- The end of every way that makes an entry unended: index and count. Returns the count.
local function enter(keys, id, cr, cutoff)
    index(keys[3], id, cr, cutoff)
    return redis.call('INCR', keys[4])
end

local function unreserve(m)
    redis.call('HDEL', m, 'rs')
    redis.call('PERSIST', m)
end

-- An entry with job.queued, as acquire and rebuild make it: the same that admit makes, whoever comes first.
-- id cr cutoff queued packed stand at args[from] .. args[from + 4].
local function create(keys, args, from, status, reserved)
    local m = keys[1]
    redis.call('HSET', m, 'st', status, 'sq', '1', unpack(unpacked(args[from + 4])))
    if reserved then unreserve(m) end
    redis.call('XADD', keys[2], '0-1', 't', 'job.queued', 'd', args[from + 3])
    enter(keys, args[from], args[from + 1], args[from + 2])
    redis.call('PUBLISH', m:sub(1, -3), '0-1')
end

-- keys: meta stream index count; args: id cr cutoff queued fp md, then field, value, ...
local function admit(keys, args)
    local call, m = redis.call, keys[1]
    if call('HSETNX', m, 'st', 'queued') == 0 then
        local h = call('HMGET', m, 'st', 'fp', 'rs', 'md')
        local count = tonumber(call('GET', keys[4]) or 0)
        if (h[2] or '') ~= args[5] then return {OTHER_PAYLOAD, h[1], count, 0} end
        if not h[3] then
            if args[6] ~= '' and not h[4] then call('HSET', m, 'md', args[6]) end
            return {EXISTS, h[1], count, 0}
        end
        unreserve(m)
    end
    if args[6] ~= '' then call('HSET', m, 'md', args[6]) end
    call('HSET', m, 'sq', '1', unpack(args, 7))
    call('XADD', keys[2], '0-1', 't', 'job.queued', 'd', args[4])
    call('PUBLISH', m:sub(1, -3), '0-1')
    return {CREATED, 'queued', enter(keys, args[1], args[2], args[3]), 0}
end

-- A key that is not here may be one that was lost with the view: it is held only where the view is whole.
-- keys: meta count built; args: fp tenant boot
local function reserve(keys, args)
    local call, m = redis.call, keys[1]
    local h = call('HMGET', m, 'st', 'fp', 'rs')
    local count = tonumber(call('GET', keys[2]) or 0)
    if h[1] then
        if (h[2] or '') ~= args[1] then return {OTHER_PAYLOAD, h[1], count, h[3] and 1 or 0} end
        if h[3] then call('PEXPIRE', m, RESERVE_MS) end
        return {EXISTS, h[1], count, h[3] and 1 or 0}
    end
    if call('GET', keys[3]) ~= args[3] then return {UNBUILT, 'queued', count, 0} end
    call('HSET', m, 'st', 'queued', 'rs', '1', 'fp', args[1], 'tn', args[2])
    call('PEXPIRE', m, RESERVE_MS)
    return {CREATED, 'queued', count, 0}
end

-- keys: meta built; args: boot, then field, ...
local function meta(keys, args)
    local built = redis.call('GET', keys[2]) == args[1]
    return {built and 1 or 0, redis.call('HMGET', keys[1], unpack(args, 2))}
end

-- keys: meta; args: id
local function cancel(keys, args)
    local call, m = redis.call, keys[1]
    local h = call('HMGET', m, 'st', 'rs', 'ow')
    if not h[1] or h[2] then return {0, 0, ''} end
    if is_end[h[1]] then return {1, 1, h[1]} end
    call('HSET', m, 'cx', '1')
    if h[3] and h[3] ~= '' then call('PUBLISH', 'w:' .. h[3], 'cancel ' .. args[1]) end
    return {1, 0, h[1]}
end

-- keys: meta of the old job; args: id of the new one
local function link_retry(keys, args)
    local h = redis.call('HMGET', keys[1], 'st', 'ra')
    if not h[1] then return 'gone' end
    if not is_end[h[1]] then return 'live' end
    if h[2] then return h[2] == args[1] and 'ok' or 'taken' end
    redis.call('HSET', keys[1], 'ra', args[1])
    return 'ok'
end

-- keys: meta stream index count built; args: incarnation boot epoch-floor seq-floor attempt, id cr cutoff queued packed
local function acquire(keys, args)
    local call, m, inc = redis.call, keys[1], args[1]
    if call('GET', keys[5]) ~= args[2] then return {LEASE_UNBUILT} end
    local h = call('HMGET', m, 'st', 'ep', 'ow', 'sq', 'cx', 'rs', 'tk', 'fp', 'sa')
    if h[1] and is_end[h[1]] then return {LEASE_ENDED, h[1]} end
    local ow = h[3]
    local held = ow and ow ~= ''
    if held and ow ~= inc and call('EXISTS', 'w:' .. ow) == 1 then
        call('PUBLISH', 'w:' .. ow, 'held ' .. args[6]) -- it may not run it any more: disclaim
        return {LEASE_BUSY, ow}
    end
    local stored, seq, seq_floor = tonumber(h[2] or 0), tonumber(h[4] or 1), tonumber(args[4])
    if not h[1] or h[6] then
        create(keys, args, 6, 'queued', h[6])
        stored, seq = 0, 1
    elseif not h[2] and not args[10]:find(h[8] or '\31', 1, true) then
        call('HSET', m, unpack(unpacked(args[10]))) -- never run, and the log's first record is not the one admitted
        call('HDEL', m, 'md')
    end
    local now, log = now_ms(), tonumber(args[3])
    local epoch = now
    if epoch <= stored then epoch = stored + 1 end
    if epoch <= log then epoch = log + 1 end
    local ep = ('%.0f'):format(epoch)
    if h[9] then call('HSET', m, 'ep', ep, 'ow', inc, 'at', args[5])
    else call('HSET', m, 'ep', ep, 'ow', inc, 'at', args[5], 'sa', epoch == now and ep or ('%.0f'):format(now)) end
    if h[7] then call('HDEL', m, 'tk') end
    local takeover = held or h[7] or log > stored
    return {LEASE_OK, epoch, seq > seq_floor and seq or seq_floor, takeover and 1 or 0, h[5] and 1 or 0}
end

-- Entries of a stream. A short one holds no more than its last seq: near enough, and a call less.
local function length(e, seq)
    return seq < 2048 and seq or redis.call('XLEN', e)
end

-- keys: meta stream; args: epoch first-seq status attempt, then type, data, ...
local function append(keys, args)
    local call, m, e, epoch = redis.call, keys[1], keys[2], args[1]
    local h = call('HMGET', m, 'st', 'ep', 'ow', 'sq', 'cx')
    local st, ep, ow = h[1], h[2], h[3]
    if not st or not ep then return {GONE, 0, 0, 0} end
    local seq, flag = tonumber(h[4]), h[5] and 1 or 0
    if is_end[st] then return {ENDED, flag, seq, 0} end
    if ep ~= epoch then return {tonumber(ep) > tonumber(epoch) and FENCED or GAP, flag, seq, 0} end
    if not ow then return {GONE, flag, seq, 0} end
    if ow == '' then return {FENCED, flag, seq, 0} end

    local first, count = tonumber(args[2]), (#args - 4) / 2
    local last = first + count - 1
    if first > seq + 1 then return {GAP, flag, seq, 0} end
    local id
    for s = seq + 1, last do
        local i = 5 + (s - first) * 2
        id = epoch .. '-' .. s
        if not call('XADD', e, 'NOMKSTREAM', id, 't', args[i], 'd', args[i + 1]) then return {GAP, flag, seq, 0} end
    end
    local sq, status, attempt = id and last or seq, args[3], args[4]
    if attempt ~= '0' then call('HSET', m, 'sq', sq, 'st', status == '' and st or status, 'at', attempt)
    elseif status ~= '' then call('HSET', m, 'sq', sq, 'st', status)
    elseif id then call('HSET', m, 'sq', sq) end
    if id then
        call('PUBLISH', m:sub(1, -3), id)
        seq = last
    end
    return {OK, flag, seq, length(e, seq)}
end

-- Puts a snapshot under id; a stream that holds higher ids (of a history that is void) is begun again.
local function put_snapshot(e, id, snapshot)
    local r = redis.pcall('XADD', e, id, 't', 'job.snapshot', 'd', snapshot)
    if type(r) == 'table' and r.err then
        redis.call('DEL', e)
        redis.call('XADD', e, id, 't', 'job.snapshot', 'd', snapshot)
    end
end

-- keys: meta stream index count; args: incarnation epoch seq status attempt started trim snapshot, id cr cutoff queued packed
local function restore(keys, args)
    local call, m, e, epoch = redis.call, keys[1], keys[2], args[2]
    local h = call('HMGET', m, 'st', 'ep', 'ow', 'sq', 'cx', 'rs')
    local flag, seq, want = h[5] and 1 or 0, tonumber(h[4] or 0), tonumber(args[3])
    if h[1] and is_end[h[1]] then return {ENDED, flag, seq, 0} end
    local ep = tonumber(h[2] or 0)
    if ep > tonumber(epoch) then return {FENCED, flag, seq, 0} end
    local same = h[2] == epoch
    if same and h[3] == '' then return {FENCED, flag, seq, 0} end -- given back by ourselves

    local id = epoch .. '-' .. args[3]
    if not h[1] or h[6] then
        call('HSET', m, unpack(unpacked(args[13])))
        if h[6] then unreserve(m) end
        enter(keys, args[9], args[10], args[11])
    end
    if not (same and seq >= want and call('EXISTS', e) == 1) then
        put_snapshot(e, id, args[8])
        seq = want
    end
    call('HSET', m, 'st', args[4], 'ep', epoch, 'ow', args[1], 'sq', seq, 'at', args[5])
    if args[6] ~= '0' then call('HSET', m, 'sa', args[6]) end
    call('HDEL', m, 'tk')
    if args[7] == '1' then call('XTRIM', e, 'MINID', '=', id) end
    call('PUBLISH', m:sub(1, -3), id)
    return {OK, flag, seq, length(e, seq)}
end

-- Puts the terminal event; false: the stream does not end at the event before it and no snapshot was given.
local function put_end(e, follows, epoch, seq, status, data, snapshot)
    local call, id, kind = redis.call, epoch .. '-' .. seq, 'job.' .. status
    if follows then
        local r = redis.pcall('XADD', e, 'NOMKSTREAM', id, 't', kind, 'd', data)
        if type(r) == 'string' then return true end
    end
    if snapshot == '' then return false end
    put_snapshot(e, epoch .. '-' .. ('%.0f'):format(tonumber(seq) - 1), snapshot)
    call('XADD', e, id, 't', kind, 'd', data)
    return true
end

local function count_down(q)
    if redis.call('DECR', q) <= 0 then redis.call('DEL', q) end
end

-- The events that stand between the stored seq and the end: n at args[14], their types and data behind it. Returns the seq
-- reached.
local function catch_up(e, stored, args)
    local n, seq = tonumber(args[14]), tonumber(args[3])
    local first = seq - n
    if stored + 1 < first then return stored end
    for s = stored + 1, seq - 1 do
        local i = 15 + (s - first) * 2
        if not redis.call('XADD', e, 'NOMKSTREAM', args[2] .. '-' .. s, 't', args[i], 'd', args[i + 1]) then
            return stored
        end
    end
    return seq - 1
end

-- keys: meta stream index count; args: lease-epoch epoch seq status data snapshot ended results events, id cr cutoff packed,
-- n, then n times type, data, then field, value, ... (view, attempt, started)
local function finish(keys, args)
    local call, m, e, seq, status = redis.call, keys[1], keys[2], args[3], args[4]
    local h = call('HMGET', m, 'st', 'ep', 'sq', 'cx', 'rs')
    local st, stored, flag = h[1], tonumber(h[3] or 0), h[4] and 1 or 0
    local lives = st and not h[5]
    if st and is_end[st] then return {st == status and h[3] == seq and OK or ENDED, flag, stored, 0} end
    if h[2] and tonumber(h[2]) > tonumber(args[1]) then return {FENCED, flag, stored, 0} end
    if lives and args[14] ~= '0' and h[2] == args[2] then stored = catch_up(e, stored, args) end
    if not put_end(e, lives and stored == tonumber(seq) - 1, args[2], seq, status, args[5], args[6]) then
        return {GAP, flag, stored, 0}
    end
    if not lives then
        call('HSET', m, unpack(unpacked(args[13])))
        if h[5] then unreserve(m) end
        index(keys[3], args[10], args[11], args[12])
    end
    -- ep: of the end itself, which an earlier owner may have written; what is served from here later bears its id
    call('HSET', m, 'st', status, 'sq', seq, 'ep', args[2], 'en', args[7], 'ow', '', unpack(args, 15 + 2 * tonumber(args[14])))
    call('PUBLISH', m:sub(1, -3), args[2] .. '-' .. seq)
    if lives then
        count_down(keys[4])
        call('PEXPIRE', e, args[9])
        call('PEXPIRE', m, args[8])
    else
        local ended = tonumber(args[7])
        call('PEXPIREAT', e, ('%.0f'):format(ended + tonumber(args[9])))
        call('PEXPIREAT', m, ('%.0f'):format(ended + tonumber(args[8])))
    end
    return {OK, flag, tonumber(seq), 0}
end

-- "running" is no clean end of a lease: records of it may still be on their way, so the next owner reads the log first.
-- keys: meta; args: epoch status
local function release(keys, args)
    local h = redis.call('HMGET', keys[1], 'st', 'ep')
    if not h[1] or not h[2] then return 'gone' end
    if is_end[h[1]] then return 'ended' end
    if h[2] ~= args[1] then return tonumber(h[2]) > tonumber(args[1]) and 'fenced' or 'gone' end
    redis.call('HSET', keys[1], 'ow', '', 'st', args[2])
    if args[2] == 'running' then redis.call('HSET', keys[1], 'tk', '1') end
    return 'ok'
end

-- Something about a job that nobody runs, such as what it waits for. keys: meta stream; args: type, data before and behind
-- its seq
local function note(keys, args)
    local call, m = redis.call, keys[1]
    local h = call('HMGET', m, 'st', 'ep', 'ow', 'sq', 'rs')
    if not h[1] or h[5] then return 'gone' end
    if is_end[h[1]] then return 'ended' end
    if h[3] and h[3] ~= '' then return 'held' end
    local seq = ('%.0f'):format(tonumber(h[4] or 1) + 1)
    local id = (h[2] or '0') .. '-' .. seq
    if not call('XADD', keys[2], 'NOMKSTREAM', id, 't', args[1], 'd', args[2] .. seq .. args[3]) then return 'gone' end
    call('HSET', m, 'sq', seq, 'st', 'waiting')
    call('PUBLISH', m:sub(1, -3), id)
    return 'ok'
end

-- A worker that stands here as the owner and does not run the job: its release was lost on the way, or with Redis' tail.
-- keys: meta; args: incarnation
local function disclaim(keys, args)
    local h = redis.call('HMGET', keys[1], 'st', 'ow')
    if not h[1] then return 'gone' end
    if is_end[h[1]] then return 'ended' end
    if h[2] ~= args[1] then return 'fenced' end
    redis.call('HSET', keys[1], 'ow', '', 'tk', '1')
    return 'ok'
end

-- keys: meta stream index count; args: epoch-floor status, id cr cutoff queued packed
local function rebuild(keys, args)
    local call, m = redis.call, keys[1]
    local h = call('HMGET', m, 'st', 'ep', 'rs')
    if h[1] and is_end[h[1]] then return 'ended' end
    if not h[1] or h[3] then create(keys, args, 3, args[2], h[3]) end
    if tonumber(args[1]) > tonumber(h[2] or 0) then
        call('HSET', m, 'ep', args[1], 'tk', '1')
    else
        call('HSET', m, 'tk', '1')
    end
    return 'ok'
end

-- The owner of a home says that whatever waited there so long ago is known here.
-- keys: told; args: age
local function tell(keys, args)
    redis.call('SET', keys[1], ('%.0f'):format(now_ms() - tonumber(args[1])))
    return 'ok'
end

-- keys: told
local function told(keys)
    local at = redis.call('GET', keys[1])
    if not at then return 'never' end
    return ('%.0f'):format(now_ms() - tonumber(at))
end

-- keys: heartbeat, built of homes ...; args: info ttl
local function beat(keys, args)
    local list, n = {}, #keys
    redis.call('SET', keys[1], args[1], 'PX', args[2])
    for from = 2, n, 256 do
        local part = redis.call('MGET', unpack(keys, from, from + 255 < n and from + 255 or n))
        for i = 1, #part do list[#list + 1] = part[i] end
    end
    return list
end

-- keys: heartbeat
local function unbeat(keys)
    if redis.call('DEL', keys[1]) == 0 then return 'gone' end
    redis.call('PUBLISH', keys[1], 'end')
    return 'ok'
end

-- A rebuild begins by putting its token where the mark will stand. A wipe takes it away with what was rebuilt so far, another
-- rebuild puts its own; in both cases the end is refused and all is to be done again.
-- keys: built; args: boot token
local function build_begin(keys, args)
    if redis.call('GET', keys[1]) == args[1] then return 'built' end
    redis.call('SET', keys[1], args[2])
    return 'ok'
end

-- keys: built; args: boot token
local function build_end(keys, args)
    local mark = redis.call('GET', keys[1])
    if mark == args[1] then return 'built' end
    if mark ~= args[2] then return 'lost' end
    redis.call('SET', keys[1], args[1])
    return 'ok'
end

redis.register_function('sluice_v1_admit', admit)
redis.register_function('sluice_v1_reserve', reserve)
redis.register_function('sluice_v1_meta', meta)
redis.register_function('sluice_v1_cancel', cancel)
redis.register_function('sluice_v1_link_retry', link_retry)
redis.register_function('sluice_v1_acquire', acquire)
redis.register_function('sluice_v1_append', append)
redis.register_function('sluice_v1_restore', restore)
redis.register_function('sluice_v1_finish', finish)
redis.register_function('sluice_v1_release', release)
redis.register_function('sluice_v1_disclaim', disclaim)
redis.register_function('sluice_v1_note', note)
redis.register_function('sluice_v1_rebuild', rebuild)
redis.register_function('sluice_v1_build_begin', build_begin)
redis.register_function('sluice_v1_build_end', build_end)
redis.register_function('sluice_v1_tell', tell)
redis.register_function('sluice_v1_told', told)
redis.register_function('sluice_v1_beat', beat)
redis.register_function('sluice_v1_unbeat', unbeat)
