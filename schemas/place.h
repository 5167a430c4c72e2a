#ifndef SCHEMAS_PLACE_H
#define SCHEMAS_PLACE_H
#include <stddef.h>

/* A place in a tree, twice: as people write it (tenants[0].id) and as a JSON pointer
 * (/tenants/0/id, which yaml_line takes). A place too deep or too long is cut, never overrun. */
enum { PLACE_PATH_MAX = 192, PLACE_POINTER_MAX = 256 };

struct place {
    char path[PLACE_PATH_MAX];
    char pointer[PLACE_POINTER_MAX];
};

struct place place_key(const struct place *at, const char *key); /* at NULL: the top */
struct place place_index(const struct place *at, size_t index);

#endif
