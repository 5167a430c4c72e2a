#ifndef CONSUMER_TASK_PRIV_H
#define CONSUMER_TASK_PRIV_H
#include "common/base/json.h"
#include "common/base/list.h"
#include "consumer/task.h"
#include "schemas/expr.h"
#include <jansson.h>

/* The inside of a task, shared by task.c (inputs and the order of steps), task_run.c (one run),
 * task_call.c (what a call's outcome means for it), task_eval.c (expressions, the document they
 * see) and task_effect.c (the queue of effects). */

enum {
    TASK_EXPRS_MAX = 32,
    TASK_ITEMS_MAX = 10000,
    TASK_EFFECTS_MAX = 4096,
    TASK_ROOT_MAX = 8 << 20,
    TASK_EVENT_OUTPUT_MAX = 64 << 10
};

/* HELD: a drain took back what had not gone out; an undrain asks for it again. */
enum run_state {
    RUN_EVALUATING,
    RUN_READY,
    RUN_CALLING,
    RUN_STREAMING,
    RUN_RETRYING,
    RUN_RECORDING,
    RUN_HELD
};

/* What an evaluation is for; it decides what follows it. */
enum eval_goal { EVAL_WHEN, EVAL_FOREACH, EVAL_SPEC, EVAL_FALLBACK, EVAL_OUTPUT };

struct run {
    struct list_link link; /* in task.runs */
    uint32_t id;
    size_t step;  /* index, or TASK_NO_STEP: the job's output */
    int64_t item; /* -1 = none */
    enum run_state state;
    enum eval_goal goal;
    struct expr_value exprs[TASK_EXPRS_MAX];
    size_t expr_count, expr_pending;
    int64_t attempt;    /* within this start, 1.. */
    int64_t waits;      /* back-offs that burnt no attempt */
    int64_t wake_ms;    /* RETRYING */
    struct buf request; /* TASK_CALL's request */
    int64_t max_tokens;
    struct buf text; /* the reply so far */
    struct task_usage usage;
    char finish[32];
    bool held_asking;      /* HELD: it was about to call, not evaluating */
    bool has_started;      /* step.started was told for this attempt */
    bool failing;          /* RECORDING a failure (on_error continue) */
    struct json_t *output; /* RECORDING */
    struct err error;
    char error_code[64];
};

#define TASK_NO_STEP ((size_t)-1)

enum step_phase {
    STEP_BLOCKED,
    STEP_OPENING /* when, foreach */,
    STEP_RUNNING,
    STEP_COMPLETED,
    STEP_FAILED,
    STEP_SKIPPED
};

struct step_now {
    enum step_phase phase;
    struct json_t *items;   /* foreach: the array; NULL otherwise */
    struct json_t *outputs; /* foreach: as many, null until done */
    size_t next, done, failed, active;
};

struct restored {
    size_t step;
    int64_t item;
    struct json_t *record; /* the checkpoint's value */
};

struct effect_node {
    struct list_link link;
    struct task_effect effect;
    struct buf bytes; /* what its views point into (offsets until popped) */
};

struct task {
    const struct workflow *workflow;
    struct job_id id;
    int64_t starts;
    size_t step_output_max, job_output_max;
    struct json_t *doc; /* {"input","steps":{id:{"output"}},"job":{..}} */
    struct step_now *steps;
    struct restored *restored;
    size_t restored_count, restored_max;
    struct list runs;
    uint32_t next_run;
    struct list effects;
    struct effect_node *handed_out;
    struct buf root; /* scratch: the document as text */
    bool started, draining, paused_told, closing;
    bool no_memory;
};

/* task_effect.c: queue an effect; e's views are copied. A failed allocation sets no_memory (the
 * task then ends as failed). */
void task_emit(struct task *t, const struct task_effect *e);
void task_emit_event(struct task *t, enum event_type type, const struct run *r,
                     struct view members);
void task_drop_effects(struct task *t);
/* Takes back what a run has asked for and nobody has performed yet. */
void task_unqueue_run(struct task *t, uint32_t run);

/* task_eval.c */
MUST_CHECK enum err_code task_doc_new(struct task *t, const struct task_options *o,
                                      struct err *err);
void task_doc_set_output(struct task *t, size_t step, struct json_t *take_output);
/* The template a goal is about, borrowed; NULL when the step has none. A plain "${..}" string of
 * when/foreach is wrapped: release with json_decref. */
struct json_t *task_goal_template(struct task *t, const struct run *r);
/* Asks for every jq expression of the goal's template; with none pending the value is there at
 * once: true and *ret (new reference), or an error in err (true and *ret NULL). False: answers are
 * awaited. */
bool task_eval_begin(struct task *t, struct run *r, enum eval_goal goal, struct json_t **ret,
                     struct err *err);
void task_eval_drop(struct run *r);
bool task_eval_feed(struct task *t, struct run *r, struct view source, struct view value,
                    const struct err *e, struct json_t **ret, struct err *err);

/* task_run.c */
struct run *task_run_new(struct task *t, size_t step, int64_t item);
void task_run_free(struct task *t, struct run *r);
struct run *task_run_find(struct task *t, uint32_t id);
int64_t task_run_attempt(const struct task *t, const struct run *r); /* as told outside */
void task_run_open(struct task *t, struct run *r, enum eval_goal goal);
void task_run_value(struct task *t, struct run *r, struct json_t *take_value,
                    const struct err *err);
void task_run_retry(struct task *t, struct run *r);
void task_run_hold(struct task *t, struct run *r);
void task_run_resume(struct task *t, struct run *r);
/* The run's outcome is final (recorded or needs no record). */
void task_run_fail(struct task *t, struct run *r, const char *code, const struct err *e,
                   bool exhausted);
void task_run_complete(struct task *t, struct run *r, struct json_t *take_output);

/* task.c: called by runs and calls */
void task_step_item_settled(struct task *t, size_t step, int64_t item, bool failed,
                            struct json_t *take_output);
void task_step_skip(struct task *t, size_t step);
void task_step_foreach(struct task *t, size_t step, struct json_t *take_items);
void task_finish(struct task *t, enum job_status status, struct view output, struct view error,
                 bool dead_letter);
void task_advance(struct task *t);
void task_tell_paused(struct task *t); /* once, when a drain has nothing in hand any more */
const struct restored *task_restored(const struct task *t, size_t step, int64_t item);

#endif
