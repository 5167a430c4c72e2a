#ifndef BASE_ARENA_H
#define BASE_ARENA_H
#include "common/base/view.h"

/* Bump allocator with a ceiling: one free for everything taken. Under ASan each block is its own
 * malloc. */
struct arena;

struct arena *arena_new(size_t max_bytes); /* NULL: no memory */
void arena_free(struct arena *a);
void *arena_alloc(struct arena *a, size_t size); /* 16-aligned, zeroed; NULL: ceiling or memory */
/* Copies with a NUL after them; VIEW_NONE and NULL on failure. */
struct view arena_view(struct arena *a, struct view v);
char *arena_str(struct arena *a, struct view v);
size_t arena_used(const struct arena *a);

#endif
