/* Bump allocator. The ceiling counts what was handed out, not what the blocks hold, so the same
 * request meets the same ceiling in every build. Blocks come from calloc: fresh pages need no
 * zeroing of ours. Under ASan each allocation is a block of its own, so that a read past its end
 * is seen. */
#include "common/base/arena.h"

#include <assert.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_SINGLE 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define ARENA_SINGLE 1
#endif
#ifndef ARENA_SINGLE
#define ARENA_SINGLE 0
#endif

enum { ARENA_ALIGN = 16, ARENA_FIRST = 1024, ARENA_BLOCK_MAX = 256 * 1024 };

struct arena_block {
    struct arena_block *next;
    size_t pad; /* keeps the data 16-aligned */
    char data[];
};

struct arena {
    struct arena_block *blocks;
    char *at; /* free part of the newest block */
    size_t left;
    size_t block_bytes;
    size_t used, max;
};

struct arena *arena_new(size_t max_bytes)
{
    struct arena *a = calloc(1, sizeof *a);
    if (!a) return NULL;
    a->max = max_bytes;
    a->block_bytes = ARENA_FIRST;
    return a;
}

void arena_free(struct arena *a)
{
    if (!a) return;
    for (struct arena_block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(a);
}

static struct arena_block *arena_block(struct arena *a, size_t bytes)
{
    struct arena_block *b = calloc(1, sizeof *b + bytes);
    if (!b) return NULL;
    b->next = a->blocks;
    a->blocks = b;
    return b;
}

void *arena_alloc(struct arena *a, size_t size)
{
    if (size > a->max - a->used) return NULL;
    size_t step = size ? (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1) : ARENA_ALIGN;
    if (step < size || step > a->max - a->used)
        step = a->max - a->used; /* the last one: no rounding past the ceiling */
    if (!step) return NULL;
    if (ARENA_SINGLE || step > a->block_bytes / 4) {
        struct arena_block *b = arena_block(a, ARENA_SINGLE && size ? size : step);
        if (b) a->used += step;
        return b ? b->data : NULL;
    }
    if (step > a->left) {
        struct arena_block *b = arena_block(a, a->block_bytes);
        if (!b) return NULL;
        a->at = b->data;
        a->left = a->block_bytes;
        if (a->block_bytes < ARENA_BLOCK_MAX) a->block_bytes *= 2;
    }
    void *taken = a->at;
    size_t move = (step + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    a->at += move;
    a->left -= move;
    a->used += step;
    return taken;
}

char *arena_str(struct arena *a, struct view v)
{
    if (v.len == SIZE_MAX) return NULL;
    char *copy = arena_alloc(a, v.len + 1);
    if (copy && v.len) memcpy(copy, v.ptr, v.len);
    return copy;
}

struct view arena_view(struct arena *a, struct view v)
{
    char *copy = arena_str(a, v);
    return copy ? (struct view){copy, v.len} : VIEW_NONE;
}

size_t arena_used(const struct arena *a)
{
    return a->used;
}
