#ifndef SCHEMAS_JOBVIEW_PRIV_H
#define SCHEMAS_JOBVIEW_PRIV_H
#include "schemas/jobview.h"
#include "schemas/state.h"

/* Shared by jobview*.c alone. Raw JSON is kept as owned bytes, never as trees: what came in goes out byte for byte.
 * */

enum { JOBVIEW_REASON_MAX = 64, JOBVIEW_ON_MAX = 200, JOBVIEW_JSON_MAX = 16 << 20 };

struct jobview_json { /* owned; ptr NULL: absent */
    char *ptr;
    size_t len;
};

struct jobview_usage {
    int64_t input_tokens, output_tokens, calls;
    double cost;
};

struct jobview_text {
    struct buf text;
    bool is_omitted;
};

struct jobview_item { /* of a foreach step, while it runs */
    int64_t item, attempt;
    struct jobview_text text;
};

enum jobview_step_status {
    VIEW_STEP_RUNNING,
    VIEW_STEP_RETRYING,
    VIEW_STEP_COMPLETED,
    VIEW_STEP_FAILED,
    VIEW_STEP_SKIPPED,
    VIEW_STEP_STATUS_COUNT
};

struct jobview_items {
    int64_t total, done, failed;
};

struct jobview_step {
    char id[STEP_ID_MAX];
    enum jobview_step_status status;
    int64_t attempt, started_ms, ended_ms; /* -1: none */
    bool has_items;
    struct jobview_items items;
    struct jobview_item *running; /* in order of item */
    size_t running_count, running_cap;
    struct jobview_json output, error;
    bool output_omitted;
    struct jobview_text text;
    bool has_usage;
    struct jobview_usage usage;
};

struct jobview {
    struct job_id id;
    enum job_status status;
    char workflow[WORKFLOW_NAME_MAX];
    int64_t version;
    enum job_class cls;
    int64_t attempt, created_ms, started_ms, ended_ms; /* -1: none */
    struct jobview_step *steps;
    size_t step_count, step_cap;
    struct jobview_usage seen, charged; /* shown: the larger */
    struct jobview_json output, error, metadata;
    bool is_waiting;
    char reason[JOBVIEW_REASON_MAX], on[JOBVIEW_ON_MAX]; /* on "": not said */
    int64_t until_ms; /* -1: none */
    char retry_of[JOB_ID_LEN + 1], retried_as[JOB_ID_LEN + 1];
    size_t bytes; /* of step outputs, errors and text */
};

const struct json_limits *jobview_limits(void);
const char *jobview_step_status_name(enum jobview_step_status s);

/* Copies v (VIEW_NONE and null: absent). False: no memory, nothing changed. */
bool jobview_json_copy(struct jobview_json *ret, struct view v);
struct view jobview_json_view(const struct jobview_json *j);
void jobview_step_fini(struct jobview_step *s);

/* NULL: no memory, or JOBVIEW_STEPS_MAX. A new step is running. */
struct jobview_step *jobview_step_get(struct jobview *v, struct view id);
struct jobview_item *jobview_item_find(struct jobview_step *s, int64_t item);
/* NULL: no memory, or JOBVIEW_RUNNING_MAX. */
struct jobview_item *jobview_item_get(struct jobview_step *s, int64_t item);
/* What a step or item holds goes, and so do its bytes. */
void jobview_item_drop(struct jobview *v, struct jobview_step *s, int64_t item);
void jobview_items_clear(struct jobview *v, struct jobview_step *s);
void jobview_text_clear(struct jobview *v, struct jobview_text *t);
/* Appends a raw string literal, decoded. Past the ceiling the text goes and is marked. False: no memory. */
bool jobview_text_put(struct jobview *v, struct jobview_text *t, struct view literal);
void jobview_json_clear(struct jobview *v, struct jobview_json *j);
/* Replaces what j held, counting bytes. *ret_omitted: there was no room. False: no memory, nothing changed. */
bool jobview_json_set(struct jobview *v, struct jobview_json *j, struct view value, bool *ret_omitted);

/* Numbers end at 2^53, as in every JSON reader; sums stop there. */
#define JOBVIEW_NUMBER_MAX ((int64_t)1 << 53)
void jobview_add(int64_t *sum, int64_t n);

/* Reading members; false: wrong type. */
bool jobview_get_int(struct view v, int64_t min, int64_t *ret);
bool jobview_get_text(struct view v, char *dst, size_t size);
bool jobview_get_time(struct view v, int64_t *ret);
bool jobview_get_usage(struct view v, struct jobview_usage *ret);
bool jobview_get_items(struct view v, struct jobview_items *ret);
bool jobview_get_bool(struct view v, bool *ret);

#endif
