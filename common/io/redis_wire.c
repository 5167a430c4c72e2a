/* What a connection writes and whom it owes answers: the RESP encoder and the ring of pending
 * commands.
 *
 * Both are on the path of every command: the encoder works out one upper bound, reserves once and
 * then only copies; the ring grows by doubling and never shrinks, so a settled connection does not
 * allocate. */
#include "common/io/redis_priv.h"
#include <assert.h>

enum { REDIS_RING_FIRST = 64 };

struct redis_pending *redis_ring_at(const struct redis_ring *r, size_t i)
{
    return &r->slots[(r->head + i) & (r->cap - 1)];
}

bool redis_ring_push(struct redis_ring *r, const struct redis_pending *p)
{
    if (r->count == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : REDIS_RING_FIRST;
        struct redis_pending *slots = malloc(cap * sizeof *slots);
        if (!slots) return false;
        for (size_t i = 0; i < r->count; i++) slots[i] = *redis_ring_at(r, i);
        free(r->slots);
        r->slots = slots;
        r->cap = cap;
        r->head = 0;
    }
    *redis_ring_at(r, r->count) = *p;
    r->count++;
    return true;
}

struct redis_pending redis_ring_pop(struct redis_ring *r)
{
    assert(r->count > 0);
    struct redis_pending p = *redis_ring_at(r, 0);
    r->head = (r->head + 1) & (r->cap - 1);
    r->count--;
    return p;
}

static size_t redis_put_number(char *dst, char kind, size_t n)
{
    char digits[24];
    size_t len = 0, at = 0;
    do {
        digits[len++] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    dst[at++] = kind;
    while (len) dst[at++] = digits[--len];
    dst[at++] = '\r';
    dst[at++] = '\n';
    return at;
}

enum err_code redis_encode(struct redis_conn *c, const struct view *argv, size_t argc)
{
    size_t need = 32;
    for (size_t i = 0; i < argc; i++) {
        if (argv[i].len > c->output_max) return ERR_TOO_LARGE;
        need += argv[i].len + 32;
    }
    if (need > c->output_max) return ERR_TOO_LARGE;
    if (c->out.len - c->out_sent + need > c->output_max) return ERR_FULL;
    if (c->out.len + need > c->output_max) {
        buf_consume(&c->out, c->out_sent);
        c->out_sent = 0;
    }
    if (!buf_reserve(&c->out, need)) return ERR_NOMEM;
    char *at = c->out.data + c->out.len;
    at += redis_put_number(at, '*', argc);
    for (size_t i = 0; i < argc; i++) {
        at += redis_put_number(at, '$', argv[i].len);
        if (argv[i].len) memcpy(at, argv[i].ptr, argv[i].len);
        at += argv[i].len;
        *at++ = '\r';
        *at++ = '\n';
    }
    c->out.len = (size_t)(at - c->out.data);
    return ERR_OK;
}
