#ifndef SCHEMAS_JSONSCHEMA_PRIV_H
#define SCHEMAS_JSONSCHEMA_PRIV_H
#include "common/base/map.h"
#include "schemas/jsonschema.h"
#include <jansson.h>

/* A compiled schema: one node per subschema, all owned by the schema (references make cycles). What
 * a node points to in the source tree is kept alive by the schema's reference to it. */
enum {
    JSONSCHEMA_NODES_MAX = 5000,
    JSONSCHEMA_DEPTH_MAX = 64,
    JSONSCHEMA_FRAMES_MAX = 256,
    JSONSCHEMA_STEPS_MAX = 100000
};
enum { JSONSCHEMA_LIST_MAX = 1000 };

enum jsonschema_type { /* bits */
                       JSONSCHEMA_NULL = 1,
                       JSONSCHEMA_BOOLEAN = 2,
                       JSONSCHEMA_INTEGER = 4,
                       JSONSCHEMA_NUMBER = 8,
                       JSONSCHEMA_STRING = 16,
                       JSONSCHEMA_ARRAY = 32,
                       JSONSCHEMA_OBJECT = 64
};
enum jsonschema_format {
    JSONSCHEMA_NO_FORMAT,
    JSONSCHEMA_URI,
    JSONSCHEMA_EMAIL,
    JSONSCHEMA_DATE,
    JSONSCHEMA_DATE_TIME,
    JSONSCHEMA_UUID
};

struct jsonschema_regex;
struct jsonschema_node;

struct jsonschema_list {
    struct jsonschema_node **nodes;
    size_t count;
};

struct jsonschema_pattern { /* patternProperties */
    struct jsonschema_regex *regex;
    struct jsonschema_node *node;
};

struct jsonschema_node {
    struct jsonschema_node *next; /* in the schema's list */
    const json_t *source;
    bool refuses_all; /* the schema `false` */
    unsigned types;   /* 0: any */
    const json_t *choices, *constant, *required;
    const json_t *minimum, *maximum, *exclusive_minimum, *exclusive_maximum, *multiple_of;
    int64_t min_length, max_length, min_items, max_items, min_properties,
        max_properties; /* -1: none */
    bool unique_items;
    enum jsonschema_format format;
    struct jsonschema_regex *pattern;
    const json_t *properties; /* names in the source; property_nodes in the same order */
    struct jsonschema_list property_nodes;
    struct jsonschema_pattern *patterns;
    size_t pattern_count;
    struct jsonschema_node *additional, *names, *items, *contains, *not_node, *if_node, *then_node,
        *else_node, *ref;
    struct jsonschema_list prefix, all_of, any_of, one_of;
    char *ref_at;  /* where $ref stands; NULL without */
    unsigned mark; /* the search for circles */
};

struct jsonschema {
    json_t *source;
    struct jsonschema_node *nodes, *root;
};

/* While it is compiled. */
struct jsonschema_build {
    struct jsonschema *s;
    struct map *by_source; /* address of a part of the source -> its node */
    size_t node_count;
    struct err *err;
};
enum err_code jsonschema_nomem(const struct jsonschema_build *b);
static inline struct view jsonschema_source_key(const json_t *const *source)
{
    return view_make(source, sizeof *source);
}
/* jsonschema_ref.c: every $ref gets its node; circles are refused. */
MUST_CHECK enum err_code jsonschema_link(struct jsonschema_build *b);

/* A place in the schema or the instance, as a chain on the stack. key NULL: index. */
struct jsonschema_frame {
    const struct jsonschema_frame *up;
    const char *key;
    size_t index;
};
/* prefix, then the pointer of the frames; cut to size. */
void jsonschema_pointer(const char *prefix, const struct jsonschema_frame *at, char *ret,
                        size_t size);

/* --- values (jsonschema_value.c): numbers are equal by value (1 and 1.0), *steps counts down -- */
bool jsonschema_equal(const json_t *a, const json_t *b, int64_t *steps);
bool jsonschema_unique(
    const json_t *array, int64_t *steps,
    size_t ret_pair[2]); /* false: the two places, or *steps < 0 or no memory (then pair 0,0) */
int jsonschema_compare(const json_t *a, const json_t *b); /* numbers: -1 0 1 */
bool jsonschema_is_integer(const json_t *v);
bool jsonschema_is_multiple(const json_t *v, const json_t *of);
size_t jsonschema_length(const char *utf8, size_t len); /* code points */

bool jsonschema_format_parse(const char *name, enum jsonschema_format *ret);
const char *jsonschema_format_name(enum jsonschema_format f);
bool jsonschema_format_ok(enum jsonschema_format f, struct view text);

/* --- regular expressions (jsonschema_regex.c): ECMA-262 with u flag, without look-around, back
 * references and \p ----- */
MUST_CHECK enum err_code jsonschema_regex_new(struct view source, struct jsonschema_regex **ret,
                                              struct err *err);
void jsonschema_regex_free(struct jsonschema_regex *r);
/* Does it match somewhere in text? Linear in text; *steps counts down, and no match is reported
 * once it is below 0. */
bool jsonschema_regex_match(const struct jsonschema_regex *r, struct view text, int64_t *steps);

#endif
