/* Limits of jobs that carry a key: a list in which the first entry that matches counts. An entry
 * that an earlier one hides would be believed to hold and would not, so it is refused. */
#include "schemas/config_priv.h"
#include <jansson.h>

static bool config_is_match(const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++)
        if (text[i] < 0x21 || text[i] > 0x7e || (text[i] == '*' && i + 1 < len)) return false;
    return len > 0;
}

static bool config_matches(struct view match, struct view key)
{
    if (!match.len || match.ptr[match.len - 1] != '*') return view_eq(match, key);
    struct view start = view_make(match.ptr, match.len - 1);
    return key.len >= start.len && memcmp(key.ptr, start.ptr, start.len) == 0;
}

const struct config_key_limit *config_key_limit_find(const struct config *c, struct view key)
{
    for (size_t i = 0; i < c->key_limit_count; i++)
        if (config_matches(view_of(c->key_limits[i].match), key)) return &c->key_limits[i];
    return NULL;
}

static void config_read_key_limit(struct config_ctx *x, json_t *map, const struct place *at,
                                  struct config_key_limit *l)
{
    const struct config_member members[] = {{"concurrency", 0, 1000000, &l->concurrency},
                                            {"per_minute", 0, 1000000, &l->per_minute}};
    if (!config_check_map(x, CONFIG_MAP_KEY_LIMIT, map, at)) return;
    struct place here = place_key(at, "match");
    bool is_limit = false;
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        is_limit |= json_object_get(map, members[i].key) != NULL;
        config_read_int(x, map, at, &members[i]);
    }
    if (!is_limit)
        config_complain(x, at, "limits nothing; give concurrency or per_minute (0: no limit)");
    const char *text = config_read_text(x, map, at, "match", CONFIG_MATCH_MAX);
    if (!text) return;
    if (!config_is_match(text))
        config_complain(x, &here,
                        "must be printable ASCII without blanks, with * at the end only, such as "
                        "\"site:*\"");
    else
        l->match = config_dup(x, view_of(text));
}

/* True: whatever b matches, a matches too. */
static bool config_hides(const struct config_key_limit *a, const struct config_key_limit *b)
{
    size_t len = strlen(b->match);
    bool is_open = b->match[len - 1] == '*';
    if (is_open && a->match[strlen(a->match) - 1] != '*') return false;
    return config_matches(view_of(a->match), view_make(b->match, is_open ? len - 1 : len));
}

static void config_check_hidden(struct config_ctx *x, const struct place *at, size_t index)
{
    const struct config_key_limit *list = x->c->key_limits;
    struct place item = place_index(at, index), here = place_key(&item, "match");
    for (size_t i = 0; list[index].match && i < index; i++) {
        if (!list[i].match || !config_hides(&list[i], &list[index])) continue;
        config_complain(x, &here,
                        "is never reached: keys[%zu] comes first and matches all of it; move this "
                        "entry above it",
                        i);
        return;
    }
}

void config_read_key_limits(struct config_ctx *x, const struct json_t *list, const struct place *at)
{
    size_t count = config_check_list(x, list, CONFIG_KEY_LIMITS_MAX, at);
    x->c->key_limits = config_room(x, count, sizeof *x->c->key_limits);
    if (!x->c->key_limits) return;
    x->c->key_limit_count = count;
    for (size_t i = 0; i < count && !x->no_memory; i++) {
        struct place here = place_index(at, i);
        config_read_key_limit(x, json_array_get(list, i), &here, &x->c->key_limits[i]);
        config_check_hidden(x, at, i);
    }
}

void config_free_key_limits(struct config *c)
{
    for (size_t i = 0; i < c->key_limit_count; i++) free(c->key_limits[i].match);
    free(c->key_limits);
}
