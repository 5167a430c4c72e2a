#ifndef SCHEMAS_CONFIG_H
#define SCHEMAS_CONFIG_H
#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/view.h"

/* One sluice.yaml for every process. schemas/config.def is the table of scalar keys (name, type
 * with unit, default, range, reloadable, help): the parser, SLUICE_* overrides, flags,
 * --print-config, docs and the chart all come from it. Tenants, providers, models are lists and
 * maps, parsed in config_lists.c. Unknown keys are errors with file:line and the nearest known key.
 */

enum { CONFIG_NAME_MAX = 64 };

/* kafka.security: the client's own dotted names. A secret is written as <name>_env: VARIABLE or
 * <name>_file: PATH; value then holds what was found there, and source says where it came from
 * (what config_print shows). */
struct config_setting {
    char *name, *value;
    char *source; /* NULL: value stood in the file itself */
    bool is_file; /* source is a file, else a variable */
};

struct config_kafka {
    char *brokers, *topic_prefix;
    int64_t partitions, lanes, replication_factor; /* lanes: k, default min(4, partitions) */
    int64_t session_timeout_ms, message_timeout_ms;
    double linger_ms;
    struct config_setting *settings;
    size_t setting_count;
};

enum config_scope { SCOPE_SUBMIT = 1, SCOPE_READ = 2, SCOPE_ADMIN = 4 };

struct config_key {
    unsigned char sha256[32]; /* of the bare key */
    unsigned scopes;
};

struct config_tenant {
    char id[CONFIG_NAME_MAX];
    struct config_key *keys;
    size_t key_count;
    int64_t weight, max_queued;
    int64_t tokens_per_day, spend_per_day_microusd; /* 0 = no limit */
};

enum provider_kind {
    PROVIDER_OPENAI,
    PROVIDER_AZURE,
    PROVIDER_ANTHROPIC,
    PROVIDER_GEMINI,
    PROVIDER_VLLM
};

enum provider_api { PROVIDER_CHAT, PROVIDER_RESPONSES };

/* Where a secret comes from; the secret itself is not in here. One of env and file is set. */
struct config_provider_key {
    char *name; /* unique within its provider; "default" for api_key_env and api_key_file */
    char *env, *file;
};

struct config_provider {
    char name[CONFIG_NAME_MAX];
    enum provider_kind kind;
    enum provider_api api;
    char *base_url;    /* no slash at its end; https unless loopback, insecure or without a key */
    char *api_version; /* NULL: the dialect's own default */
    bool is_insecure;
    struct config_provider_key *keys;
    size_t key_count; /* 0: a server that wants none */
};

struct config_budget { /* 0 = no limit of ours */
    int64_t requests_per_minute, input_tokens_per_minute, output_tokens_per_minute,
        tokens_per_minute;
    int64_t requests_per_day, concurrency;
    int64_t spend_per_day_microusd;
    int64_t quantum_ms; /* the provider counts in quanta of this; 0 = it does not */
    int64_t start;      /* requests a minute to begin with where no limit is known, >= 1 */
    bool learn;         /* the provider's headers and refusals correct the limits */
};

struct config_price { /* US dollars */
    double input_per_million, output_per_million, cached_input_per_million;
    bool is_complete; /* input and output were both given */
};

/* budget and price are the ones that hold: the route's own, else the model's, else those that
 * another route to the same provider and model gives. All routes to one (provider, model) have the
 * same. */
struct config_route {
    char provider[CONFIG_NAME_MAX];
    char model[128];
    int64_t context_tokens;     /* 0 = unknown */
    bool has_budget, has_price; /* of its own */
    struct config_budget budget;
    struct config_price price;
};

/* For which reasons a call goes on to the next route. */
enum config_failover {
    FAILOVER_OUTAGE = 1,
    FAILOVER_EXHAUSTED = 2,
    FAILOVER_THROTTLE = 4,
    FAILOVER_OVERLOAD = 8
};

struct config_model {
    char name[CONFIG_NAME_MAX];
    struct config_route *routes;
    size_t route_count;
    unsigned failover;          /* enum config_failover, or-ed */
    bool has_budget, has_price; /* written at the model; see config_route for those that hold */
    struct config_budget budget;
    struct config_price price;
};

/* Limits of the jobs of one tenant that carry one and the same key. */
struct config_key_limit {
    char *match;                     /* a key, or its beginning and * */
    int64_t concurrency, per_minute; /* 0 = no limit */
};

struct config {
    struct config_kafka kafka;
    char *redis_url;
    struct {
        char *listen, *admin;
        char *token_key_file;
        char **cors_origins;
        size_t cors_origin_count;
        int64_t body_max, head_max, connections_max;
        int64_t heartbeat_ms, retry_ms, watcher_bytes_max;
        bool reuse_port;
    } gateway;
    struct {
        char *admin, *build, *color, *name; /* name: worker name, default host-pid */
        int64_t max_jobs, max_attempts, max_calls, jq_helpers;
        int64_t lease_ttl_ms, drain_timeout_ms;
        int64_t interactive_weight, bulk_weight;
        int64_t window, window_share; /* records of a class in memory; percent for one tenant */
    } consumer;
    struct {
        int64_t results_ms, events_ms, usage_ms;
    } retention;
    struct {
        char *level;
    } log;
    struct config_tenant *tenants;
    size_t tenant_count;
    struct config_provider *providers;
    size_t provider_count;
    struct config_model *models;
    size_t model_count;
    struct config_key_limit *key_limits; /* the first that matches holds */
    size_t key_limit_count;
    char *workflows_dir; /* absolute after loading: relative to the config file */
};

/* path NULL: SLUICE_CONFIG, else built-in defaults. env: environ-shaped, may be NULL. flags:
 * "--gateway.listen=..." as given, already stripped of what main handles itself. Every error found
 * is written to errors (one line each: file:line: what; how to fix). */
MUST_CHECK enum err_code config_load(const char *path, char *const *env, char *const *flags,
                                     size_t flag_count, struct config **ret, struct buf *errors,
                                     struct err *err);
void config_free(struct config *c);
/* The same without I/O. text VIEW_NONE: no file. dir: absolute folder of the file, paths in it are
 * relative to this; cwd: for the others. Settings of the kind <name>_file are left with value NULL.
 */
struct config_input {
    struct view text;
    const char *name; /* the file in errors */
    const char *dir, *cwd;
    const char *worker_name; /* default of consumer.name */
    char *const *env;
    char *const *flags;
    size_t flag_count;
};
MUST_CHECK enum err_code config_build(const struct config_input *in, struct config **ret,
                                      struct buf *errors, struct err *err);
/* The effective values as YAML, secrets masked. */
bool config_print(const struct config *c, struct buf *out);
/* The keys as a Markdown table (docs) or as --help text. */
bool config_print_keys(struct buf *out, bool markdown);
const struct config_tenant *config_tenant_find(const struct config *c, struct view id);
const struct config_model *config_model_find(const struct config *c, struct view name);
const struct config_provider *config_provider_find(const struct config *c, struct view name);
/* NULL: no limit for this key. */
const struct config_key_limit *config_key_limit_find(const struct config *c, struct view key);

#endif
