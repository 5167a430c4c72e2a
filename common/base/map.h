#ifndef BASE_MAP_H
#define BASE_MAP_H
#include "common/base/view.h"

/* Hash map from bytes to pointers; keys are copied, values borrowed. Born with its ceiling of
 * entries. The order of iteration is that of first insertion, whatever the keys. */
struct map;

struct map *map_new(size_t max_entries);
void map_free(struct map *m); /* values are the caller's */
/* False when full or out of memory. Replaces an existing value. */
bool map_put(struct map *m, struct view key, void *value);
void *map_get(const struct map *m, struct view key); /* NULL when absent */
void *map_remove(struct map *m, struct view key);    /* gives the value back, NULL when absent */
size_t map_count(const struct map *m);
/* Start with *cursor = 0; false at the end. Removing the current one is allowed; putting is not. */
bool map_each(const struct map *m, size_t *cursor, struct view *ret_key, void **ret_value);

#endif
