#ifndef SCHEMAS_WORKFLOW_PRIV_H
#define SCHEMAS_WORKFLOW_PRIV_H
#include "schemas/place.h"
#include "schemas/workflow.h"
#include <jansson.h>

/* Reading one workflow: what its files share. Every function answers with a code and has told the
 * fault by workflow_fail. */
enum { WORKFLOW_STEPS_MAX = 256, WORKFLOW_EXPRS_MAX = 32 };

struct workflow_set { /* of steps */
    uint64_t bits[WORKFLOW_STEPS_MAX / 64];
};

struct workflow_read {
    struct workflow *w;
    const struct yaml_doc *doc;
    json_t *steps; /* the list in the file, borrowed */
    struct err *err;
    struct workflow_retry retry; /* the defaults */
    int64_t timeout_ms;
    struct workflow_set
        needs[WORKFLOW_STEPS_MAX];      /* by place in the file: direct, later all of them */
    bool has_needs[WORKFLOW_STEPS_MAX]; /* written down, not inferred */
};

enum err_code workflow_fail(const struct workflow_read *r, const struct place *at, const char *fmt,
                            ...) PRINTF_LIKE(3, 4);
/* value is a map whose keys are all in known (NULL-ended). */
MUST_CHECK enum err_code workflow_check_keys(struct workflow_read *r, const json_t *value,
                                             const struct place *at, const char *const *known);
/* A member of a map and where its value goes. An absent one leaves *slot alone. */
struct workflow_member {
    const char *key;
    int64_t min, max; /* a duration's in milliseconds */
    int64_t *slot;
};
MUST_CHECK enum err_code workflow_read_int(struct workflow_read *r, const json_t *map,
                                           const struct place *at, const struct workflow_member *m);
MUST_CHECK enum err_code workflow_read_duration(struct workflow_read *r, const json_t *map,
                                                const struct place *at,
                                                const struct workflow_member *m);
MUST_CHECK enum err_code workflow_read_retry(struct workflow_read *r, const json_t *value,
                                             const struct place *at, struct workflow_retry *slot);
MUST_CHECK enum err_code workflow_read_schema(struct workflow_read *r, const json_t *value,
                                              const struct place *at, struct jsonschema **slot);
/* workflow_step.c: steps[index] of the file into w->steps[index]. */
MUST_CHECK enum err_code workflow_read_step(struct workflow_read *r, size_t index,
                                            const struct place *at);
/* workflow_llm.c */
MUST_CHECK enum err_code workflow_read_llm(struct workflow_read *r, struct workflow_step *s,
                                           const json_t *spec, const struct place *at);
/* The value is one whole `${ }` string. */
bool workflow_is_expr(const json_t *value);

/* workflow_graph.c. Checks every expression; finds the needs; orders the steps. w->steps is in the
 * file's order before and in topological order afterwards. */
MUST_CHECK enum err_code workflow_link(struct workflow_read *r);

#endif
