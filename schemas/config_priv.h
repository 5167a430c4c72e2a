#ifndef SCHEMAS_CONFIG_PRIV_H
#define SCHEMAS_CONFIG_PRIV_H
#include "common/base/yaml.h"
#include "schemas/config.h"
#include "schemas/place.h"

/* What the files of the configuration share: the table of config.def, the place of a fault, and the
 * list of complaints. */
enum config_type {
    CONFIG_TEXT,
    CONFIG_WORD,
    CONFIG_PATH,
    CONFIG_ADDRESS,
    CONFIG_BROKERS,
    CONFIG_URL,
    CONFIG_CHOICE,
    CONFIG_LIST,
    CONFIG_INT,
    CONFIG_SIZE,
    CONFIG_REAL,
    CONFIG_DURATION,
    CONFIG_BOOL
};

struct config_entry {
    const char *section, *key;
    size_t offset; /* in struct config: char * (texts), int64_t (INT SIZE DURATION), double, bool;
                      LIST is gateway.cors_origins */
    enum config_type type;
    const char *fallback;
    int64_t min, max;
    const char *choices; /* CHOICE: a|b; URL: allowed starts, separated by spaces */
    bool is_reloadable;
    const char *help;
};

enum { CONFIG_ENTRY_MAX = 64 };
enum {
    CONFIG_TENANTS_MAX = 10000,
    CONFIG_KEYS_MAX = 64,
    CONFIG_PROVIDERS_MAX = 64,
    CONFIG_PROVIDER_KEYS_MAX = 32,
    CONFIG_MODELS_MAX = 256,
    CONFIG_KEY_LIMITS_MAX = 1024,
    CONFIG_MATCH_MAX = 256
};
enum { CONFIG_ROUTES_MAX = 16, CONFIG_SETTINGS_MAX = 64, CONFIG_ORIGINS_MAX = 64 };

const struct config_entry *config_entries(size_t *ret_count);

enum config_origin { CONFIG_FROM_DEFAULT, CONFIG_FROM_FILE, CONFIG_FROM_ENV, CONFIG_FROM_FLAG };

struct config_ctx {
    const struct config_input *in;
    struct config *c;
    struct yaml_doc *doc; /* NULL: no file */
    struct buf *errors;   /* may be NULL */
    size_t error_count;
    char first[256]; /* the first complaint, for err */
    bool no_memory;
    enum config_origin origins[CONFIG_ENTRY_MAX]; /* by entry: whose value stands */
};

/* "file:line: path: text" of a place in the file. */
void config_complain(struct config_ctx *x, const struct place *at, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* "where: text" of anything else. */
void config_complain_of(struct config_ctx *x, const char *where, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* Heap copy or NULL with x->no_memory set. */
char *config_dup(struct config_ctx *x, struct view text);
/* Room for count things of size, zeroed; NULL (no_memory) when there is none. count 0 gives NULL
 * without complaint. */
void *config_room(struct config_ctx *x, size_t count, size_t size);

/* Values of one scalar (config_value.c). where is what complaints begin with; dir is what relative
 * paths hang on. */
void config_set(struct config_ctx *x, const struct config_entry *e, struct view text,
                const char *dir, const char *where);
void *config_slot(const struct config *c, const struct config_entry *e);
/* dir/text, or text when it is absolute. */
char *config_join(struct config_ctx *x, const char *dir, struct view text);
bool config_put_duration(struct buf *out, int64_t ms);
bool config_put_type(struct buf *out, const struct config_entry *e); /* "an integer from 1 to 8" */

/* The lists and maps (config_lists.c, config_security.c): a table of the fields of each kind of
 * map. */
struct config_field {
    const char *name, *type, *fallback, *help; /* fallback NULL: required */
};
enum config_map {
    CONFIG_MAP_TENANT,
    CONFIG_MAP_KEY,
    CONFIG_MAP_PROVIDER,
    CONFIG_MAP_PROVIDER_KEY,
    CONFIG_MAP_MODEL,
    CONFIG_MAP_ROUTE,
    CONFIG_MAP_BUDGET,
    CONFIG_MAP_PRICE,
    CONFIG_MAP_KEY_LIMIT,
    CONFIG_MAP_COUNT
};
const char *config_map_name(enum config_map m); /* "tenants[].keys[]" */
const struct config_field *config_map_fields(enum config_map m, size_t *ret_count);
void config_read_tenants(struct config_ctx *x, const struct json_t *list, const struct place *at);
void config_read_providers(struct config_ctx *x, const struct json_t *map, const struct place *at);
void config_read_models(struct config_ctx *x, const struct json_t *map, const struct place *at);
/* Once everything was read: models name known providers, and agree on budgets and prices. */
void config_check_models(struct config_ctx *x);
void config_read_key_limits(struct config_ctx *x, const struct json_t *list,
                            const struct place *at);
void config_read_security(struct config_ctx *x, const struct json_t *map, const struct place *at);
const char *config_provider_kind_name(enum provider_kind k);

/* Reading maps, told at their place (config_lists.c). check_map: true when value is a map; its
 * unknown and missing keys were told then. check_list, check_names: how many entries there are to
 * read, 0 after a complaint. read_text: a text member of 1 to max bytes, NULL when absent or
 * refused. */
bool config_check_map(struct config_ctx *x, enum config_map m, struct json_t *value,
                      const struct place *at);
size_t config_check_list(struct config_ctx *x, const struct json_t *list, size_t max,
                         const struct place *at);
size_t config_check_names(struct config_ctx *x, const struct json_t *map, size_t max,
                          const struct place *at);
const char *config_read_text(struct config_ctx *x, const struct json_t *map, const struct place *at,
                             const char *key, size_t max);
bool config_is_name(const char *text, bool is_tenant);
void config_copy(const char *text, char *ret, size_t size); /* text fits: asserted */
void config_free_providers(struct config *c);
void config_free_key_limits(struct config *c);
struct config_member {
    const char *key;
    int64_t min, max;
    int64_t *slot;
};
void config_read_int(struct config_ctx *x, const struct json_t *map, const struct place *at,
                     const struct config_member *m);
/* US dollars as millionths; absent leaves the slot alone. */
void config_read_money(struct config_ctx *x, const struct json_t *map, const struct place *at,
                       const char *key, int64_t *slot);
bool config_put_failover(struct buf *out, unsigned failover);

#endif
