/* Job ids. What is hard: they must be stable for ever (a client's retry of years ago must hash
 * to the same id, and the home of a job is read out of its id), so every byte that goes into a
 * hash is written down here and pinned by tests:
 *   h(x) = fmix64(fnv1a(x)); lane = h(seed) mod lanes;
 *   home = (h(tenant) mod partitions + lane) mod partitions.
 * FNV alone would let the low bits of the text decide. Lanes stand side by side from the
 * tenant's own place on, so that a tenant touches as many homes as it has lanes, neither fewer
 * by collision nor more. The seed of a v7 id is its own 16 bytes with the home's bits still
 * zero; of a v8 id it is the key.
 *
 * Who makes a v7 id chooses its random bits, and so its lane: ids of one slice of time try for the
 * same one. A burst then is a few large batches for Kafka instead of as many small ones as there
 * are lanes; over some slices a tenant's lanes are filled evenly all the same. */
#include "common/base/id.h"

#include "common/base/buf.h"
#include "common/base/hash.h"
#include <assert.h>

enum { ID_BYTES = 16, ID_SLICE_MS = 2, ID_TRIES_MAX = 64 };

static uint64_t id_hash(struct view data)
{
    uint64_t h = hash_fnv1a(data);
    h = (h ^ h >> 33) * 0xff51afd7ed558ccdu; /* the finalizer of MurmurHash3 */
    h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
}

uint32_t id_home(struct id_space space, struct view tenant, struct view seed)
{
    assert(space.partitions >= 1 && space.partitions <= JOB_ID_PARTITIONS_MAX);
    assert(space.lanes >= 1 && space.lanes <= space.partitions);
    uint32_t first = (uint32_t)(id_hash(tenant) % space.partitions);
    uint32_t lane = (uint32_t)(id_hash(seed) % space.lanes);
    return (first + lane) % space.partitions;
}

static void id_stamp(unsigned char b[ID_BYTES], unsigned version, uint32_t partition)
{
    b[6] = (unsigned char)(version << 4 | partition >> 8);
    b[7] = (unsigned char)(partition & 0xff);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
}

static struct job_id id_text(const unsigned char b[ID_BYTES])
{
    static const char hex[] = "0123456789abcdef";
    struct job_id id;
    size_t at = 0;
    for (size_t i = 0; i < ID_BYTES; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) id.text[at++] = '-';
        id.text[at++] = hex[b[i] >> 4];
        id.text[at++] = hex[b[i] & 15];
    }
    id.text[at] = '\0';
    return id;
}

/* The lane that ids of this moment try for. */
static uint32_t id_slice_home(struct id_space space, struct view tenant, int64_t wall_ms)
{
    int64_t slice = wall_ms / ID_SLICE_MS;
    return id_home(space, tenant, view_make(&slice, sizeof slice));
}

struct job_id id_new_v7(struct id_space space, struct view tenant, int64_t wall_ms, struct rng *rng)
{
    unsigned char b[ID_BYTES];
    uint32_t wanted = id_slice_home(space, tenant, wall_ms), home = wanted + 1;
    for (unsigned i = 0; i < 6; i++) b[i] = (unsigned char)((uint64_t)wall_ms >> (40 - 8 * i));
    for (unsigned tries = 0; tries < ID_TRIES_MAX && home != wanted; tries++) {
        uint64_t chance = rng_next(rng);
        for (unsigned i = 0; i < 8; i++) b[8 + i] = (unsigned char)(chance >> (56 - 8 * i));
        id_stamp(b, 7, 0);
        home = id_home(space, tenant, view_make(b, sizeof b));
    }
    id_stamp(b, 7, home);
    return id_text(b);
}

struct job_id id_new_v8(struct id_space space, struct view tenant, struct view key)
{
    unsigned char digest[SHA256_BYTES];
    const struct view parts[] = {tenant, key};
    hash_sha256_parts(parts, 2, digest);
    id_stamp(digest, 8, id_home(space, tenant, key));
    return id_text(digest);
}

struct job_id id_new_derived(struct view old_id, struct view from_step, uint32_t partition)
{
    assert(partition < JOB_ID_PARTITIONS_MAX);
    unsigned char digest[SHA256_BYTES];
    const struct view parts[] = {VIEW_LIT("derived"), old_id, from_step};
    hash_sha256_parts(parts, 3, digest);
    id_stamp(digest, 8, partition);
    return id_text(digest);
}

static unsigned id_nibble(char c)
{
    if (c >= '0' && c <= '9') return (unsigned)(c - '0');
    if (c >= 'a' && c <= 'f') return (unsigned)(c - 'a' + 10);
    return 16;
}

bool id_parse(struct view text, struct job_id *ret)
{
    if (text.len != JOB_ID_LEN) return false;
    for (size_t i = 0; i < JOB_ID_LEN; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text.ptr[i] != '-' : id_nibble(text.ptr[i]) > 15) return false;
    }
    if (text.ptr[14] != '7' && text.ptr[14] != '8') return false;
    if ((id_nibble(text.ptr[19]) & 12) != 8) return false;
    memcpy(ret->text, text.ptr, JOB_ID_LEN);
    ret->text[JOB_ID_LEN] = '\0';
    return true;
}

uint32_t id_partition(const struct job_id *id)
{
    const char *t = id->text;
    return id_nibble(t[15]) << 8 | id_nibble(t[16]) << 4 | id_nibble(t[17]);
}

int64_t id_wall_ms(const struct job_id *id)
{
    if (id->text[14] != '7') return -1;
    int64_t ms = 0;
    for (size_t i = 0; i < 13; i++) {
        if (i != 8) ms = ms << 4 | id_nibble(id->text[i]);
    }
    return ms;
}
