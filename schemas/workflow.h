#ifndef SCHEMAS_WORKFLOW_H
#define SCHEMAS_WORKFLOW_H
#include "common/base/yaml.h"
#include "schemas/jsonschema.h"
#include "schemas/state.h"

/* A workflow definition, parsed and checked: every error names file, line, path and the fix. */
enum step_kind {
    STEP_LLM,
    STEP_TRANSFORM,
    STEP_KIND_COUNT
}; /* others are refused by name: not available in this build */
enum on_error { ON_ERROR_FAIL, ON_ERROR_CONTINUE, ON_ERROR_FALLBACK };

struct workflow_retry {
    int64_t max_attempts, initial_ms, max_ms;
    bool exponential;
};

struct workflow_step {
    char id[STEP_ID_MAX];
    enum step_kind kind;
    const struct json_t
        *spec;     /* the kind's own block (llm: {model,messages,...}; transform: template) */
    size_t *needs; /* indexes of steps */
    size_t need_count;
    const char *when, *foreach,
        *as; /* when, foreach: whole "${ }" strings; as defaults to "item"; NULL = absent */
    int64_t concurrency; /* foreach: items at once, default 1 */
    int64_t timeout_ms;
    struct workflow_retry retry;
    enum on_error on_error;
    const struct json_t *fallback; /* a literal value template, with ON_ERROR_FALLBACK */
    /* llm */
    char model[64];
    bool stream;                        /* default true */
    struct jsonschema *response_schema; /* NULL: text */
    int64_t max_tokens;
};

struct workflow {
    char name[WORKFLOW_NAME_MAX];
    int64_t version;
    struct jsonschema *input; /* NULL: anything */
    struct workflow_step *steps;
    size_t step_count;           /* 1 .. 256; the order is topological */
    const struct json_t *output; /* template; NULL: the last step's output */
    char pin[16];
    struct yaml_doc *doc; /* owns the trees */
};

MUST_CHECK enum err_code workflow_parse(struct view yaml, const char *file, struct workflow **ret,
                                        struct err *err);
void workflow_free(struct workflow *w);
int workflow_step_find(const struct workflow *w, struct view id); /* index or -1 */

/* All versions of all workflows of a directory (*.yaml, *.yml). */
struct workflows;
/* Reads files through the given function so that this stays pure. */
struct workflows *workflows_new(void);
void workflows_free(struct workflows *ws);
MUST_CHECK enum err_code workflows_add(struct workflows *ws, struct workflow *take,
                                       struct err *err); /* ERR_CONFLICT: same name and version */
const struct workflow *workflows_find(const struct workflows *ws, struct view name,
                                      int64_t version); /* 0 = newest */
size_t workflows_count(const struct workflows *ws);
const struct workflow *workflows_each(const struct workflows *ws, size_t *cursor);
/* Convenience for mains: reads every file of dir; all errors are written to errors, a line each. */
MUST_CHECK enum err_code workflows_load_dir(const char *dir, struct workflows **ret,
                                            struct buf *errors, struct err *err);

#endif
