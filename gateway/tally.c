/* Sums by name: tenants, workflows, models or dates. There are few; the ceiling is for the day when
 * somebody makes them up by the thousand. */
#include "gateway/tally.h"

#include "common/base/map.h"
#include <stdlib.h>

struct tally_entry {
    struct fn_usage_counts counts;
    size_t len;
    char name[];
};

struct tally {
    struct map *by_name;
    size_t max;
    struct tally_row *rows;
    struct fn_usage_counts total;
};

struct tally *tally_new(size_t rows_max)
{
    struct tally *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->max = rows_max;
    t->by_name = map_new(rows_max + 1);
    if (t->by_name) return t;
    free(t);
    return NULL;
}

void tally_free(struct tally *t)
{
    void *entry;
    struct view name;
    size_t cursor = 0;
    if (!t) return;
    while (map_each(t->by_name, &cursor, &name, &entry)) free(entry);
    map_free(t->by_name);
    free(t->rows);
    free(t);
}

static struct tally_entry *tally_new_entry(struct tally *t, struct view name)
{
    struct tally_entry *e = calloc(1, sizeof *e + name.len);
    if (!e) return NULL;
    e->len = name.len;
    if (name.len) memcpy(e->name, name.ptr, name.len);
    if (map_put(t->by_name, name, e)) return e;
    free(e);
    return NULL;
}

static struct tally_entry *tally_entry(struct tally *t, struct view name)
{
    struct tally_entry *e = name.len ? map_get(t->by_name, name) : NULL;
    if (e) return e;
    if (name.len && map_count(t->by_name) < t->max) return tally_new_entry(t, name);
    e = map_get(t->by_name, VIEW_LIT(TALLY_REST));
    return e ? e : tally_new_entry(t, VIEW_LIT(TALLY_REST));
}

bool tally_add(struct tally *t, struct view name, const struct fn_usage_counts *c)
{
    struct tally_entry *e = tally_entry(t, name);
    if (!e) return false;
    fn_usage_sum(&e->counts, c);
    fn_usage_sum(&t->total, c);
    return true;
}

static int tally_compare(const void *a, const void *b)
{
    const struct tally_row *x = a, *y = b;
    bool is_x_rest = view_eq_str(x->name, TALLY_REST), is_y_rest = view_eq_str(y->name, TALLY_REST);
    if (is_x_rest != is_y_rest) return is_x_rest ? 1 : -1;
    return view_cmp(x->name, y->name);
}

const struct tally_row *tally_rows(struct tally *t, size_t *ret_count)
{
    void *entry;
    struct view name;
    size_t cursor = 0, count = 0;
    free(t->rows);
    t->rows = calloc(map_count(t->by_name) + 1, sizeof *t->rows);
    if (!t->rows) return NULL;
    while (map_each(t->by_name, &cursor, &name, &entry)) {
        const struct tally_entry *e = entry;
        t->rows[count++] = (struct tally_row){view_make(e->name, e->len), e->counts};
    }
    qsort(t->rows, count, sizeof *t->rows, tally_compare);
    *ret_count = count;
    return t->rows;
}

const struct fn_usage_counts *tally_total(const struct tally *t)
{
    return &t->total;
}
