/* SipHash-1-3, the variant most language runtimes use for their tables: one round a word, three
 * at the end. */
#include "common/base/mix.h"

struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t mix_rotl(uint64_t x, unsigned n)
{
    return (x << n) | (x >> (64 - n));
}

static inline void mix_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v1 = mix_rotl(s->v1, 13) ^ s->v0;
    s->v0 = mix_rotl(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = mix_rotl(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = mix_rotl(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = mix_rotl(s->v1, 17) ^ s->v2;
    s->v2 = mix_rotl(s->v2, 32);
}

uint64_t mix_seed(const void *address)
{
    uint64_t z = (uint64_t)(uintptr_t)address + 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint64_t mix_hash(struct view data, uint64_t seed)
{
    uint64_t k1 = seed ^ 0xA5A5A5A55A5A5A5Au;
    struct sip s = {seed ^ 0x736f6d6570736575u, k1 ^ 0x646f72616e646f6du,
                    seed ^ 0x6c7967656e657261u, k1 ^ 0x7465646279746573u};
    const char *p = data.ptr;
    size_t left = data.len;
    for (; left >= 8; left -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        s.v3 ^= word;
        mix_round(&s);
        s.v0 ^= word;
    }
    uint64_t last = (uint64_t)data.len << 56;
    for (size_t i = 0; i < left; i++) last |= (uint64_t)(unsigned char)p[i] << (8 * i);
    s.v3 ^= last;
    mix_round(&s);
    s.v0 ^= last;
    s.v2 ^= 0xff;
    mix_round(&s);
    mix_round(&s);
    mix_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
