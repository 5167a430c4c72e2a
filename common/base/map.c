/* Hash map in two parts: `rows` keeps the entries dense in the order they came, `index` is an
 * open-addressing table of row numbers. Iteration is then a walk over an array, the same in
 * every run whatever the seed is, which the simulation needs; and removing while iterating is
 * only a hole in that array. Holes are squeezed out when the rows are full and a quarter of them
 * is empty, else the rows double. The index is rebuilt with it, so deleted marks never pile up. */
#include "common/base/map.h"

#include "common/base/mix.h"
#include <assert.h>

enum { MAP_FIRST = 8 };
enum { INDEX_EMPTY = 0, INDEX_DELETED = UINT32_MAX }; /* else row + 1 */

struct map_row {
    char *key; /* NULL: a hole */
    size_t len;
    uint64_t hash;
    void *value;
};

struct map {
    size_t max, count;
    struct map_row *rows;
    size_t row_count, row_cap;
    uint32_t *index;
    size_t index_cap; /* power of two, >= 2 * row_cap */
    uint64_t seed;
};

struct map *map_new(size_t max_entries)
{
    struct map *m = calloc(1, sizeof *m);
    if (!m) return NULL;
    assert(max_entries < UINT32_MAX / 4);
    m->max = max_entries;
    m->seed = mix_seed(m);
    return m;
}

void map_free(struct map *m)
{
    if (!m) return;
    for (size_t i = 0; i < m->row_count; i++) free(m->rows[i].key);
    free(m->rows);
    free(m->index);
    free(m);
}

static void map_index_row(struct map *m, size_t row)
{
    size_t at = m->rows[row].hash & (m->index_cap - 1);
    while (m->index[at] != INDEX_EMPTY) at = (at + 1) & (m->index_cap - 1);
    m->index[at] = (uint32_t)(row + 1);
}

/* Makes room for one more row: squeezes holes out or doubles. */
static bool map_make_room(struct map *m)
{
    if (m->row_count < m->row_cap) return true;
    size_t cap = m->row_cap ? m->row_cap : MAP_FIRST;
    if (m->count > cap - cap / 4 || !m->row_cap) cap = m->row_cap ? m->row_cap * 2 : MAP_FIRST;
    struct map_row *rows = malloc(cap * sizeof *rows);
    uint32_t *index = calloc(cap * 2, sizeof *index);
    if (!rows || !index) {
        free(rows);
        free(index);
        return false;
    }
    size_t kept = 0;
    for (size_t i = 0; i < m->row_count; i++) {
        if (m->rows[i].key) rows[kept++] = m->rows[i];
    }
    assert(kept == m->count);
    free(m->rows);
    free(m->index);
    m->rows = rows;
    m->row_count = kept;
    m->row_cap = cap;
    m->index = index;
    m->index_cap = cap * 2;
    for (size_t i = 0; i < kept; i++) map_index_row(m, i);
    return true;
}

/* Place in the index of the key, or SIZE_MAX. */
static size_t map_find(const struct map *m, struct view key, uint64_t hash)
{
    if (!m->index_cap) return SIZE_MAX;
    size_t mask = m->index_cap - 1;
    for (size_t at = hash & mask; m->index[at] != INDEX_EMPTY; at = (at + 1) & mask) {
        if (m->index[at] == INDEX_DELETED) continue;
        const struct map_row *row = &m->rows[m->index[at] - 1];
        if (row->hash == hash && view_eq((struct view){row->key, row->len}, key)) return at;
    }
    return SIZE_MAX;
}

bool map_put(struct map *m, struct view key, void *value)
{
    uint64_t hash = mix_hash(key, m->seed);
    size_t at = map_find(m, key, hash);
    if (at != SIZE_MAX) {
        m->rows[m->index[at] - 1].value = value;
        return true;
    }
    if (m->count >= m->max) return false;
    char *copy = view_dup(key);
    if (!copy) return false;
    if (!map_make_room(m)) {
        free(copy);
        return false;
    }
    m->rows[m->row_count] = (struct map_row){copy, key.len, hash, value};
    map_index_row(m, m->row_count++);
    m->count++;
    return true;
}

void *map_get(const struct map *m, struct view key)
{
    size_t at = map_find(m, key, mix_hash(key, m->seed));
    return at == SIZE_MAX ? NULL : m->rows[m->index[at] - 1].value;
}

void *map_remove(struct map *m, struct view key)
{
    size_t at = map_find(m, key, mix_hash(key, m->seed));
    if (at == SIZE_MAX) return NULL;
    struct map_row *row = &m->rows[m->index[at] - 1];
    void *value = row->value;
    free(row->key);
    *row = (struct map_row){.key = NULL};
    m->index[at] = INDEX_DELETED;
    m->count--;
    if (m->count == 0) {
        memset(m->index, 0, m->index_cap * sizeof *m->index);
        m->row_count = 0;
    }
    return value;
}

size_t map_count(const struct map *m)
{
    return m->count;
}

bool map_each(const struct map *m, size_t *cursor, struct view *ret_key, void **ret_value)
{
    while (*cursor < m->row_count) {
        const struct map_row *row = &m->rows[(*cursor)++];
        if (!row->key) continue;
        if (ret_key) *ret_key = (struct view){row->key, row->len};
        if (ret_value) *ret_value = row->value;
        return true;
    }
    return false;
}
