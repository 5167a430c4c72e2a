#ifndef CONSUMER_TASK_H
#define CONSUMER_TASK_H
#include "schemas/event.h"
#include "schemas/workflow.h"

/* One job as a pure machine: inputs in, effects out; no clock, no I/O. The worker feeds it and
 * performs what it returns.
 *
 *   step: BLOCKED --needs settled--> (OPENING: its foreach) --> RUNNING --> settled
 *   run:  a step, or one item of a foreach step
 *
 *    EVALUATING --> READY --started--> CALLING --text--> STREAMING --done--> RECORDING --> over
 *                   ^  ^ '<---waits-------'|                |
 *                   |  '--tick-- RETRYING <'----failed------'
 *                  HELD
 *
 * HELD: a drain took back what had not gone out; an undrain asks for it again. RECORDING: its
 * checkpoint is asked for. A step is settled as completed, failed or skipped.
 *
 * TASK_END comes once: when all steps are settled and the output is there, when a step fails for
 * good, or by task_close. Nothing comes after it.
 * A run whose checkpoint stands (task_restore) is DONE from the start and makes no effect. */
struct task;

struct task_options {
    const struct workflow *workflow;
    const struct job_head *head;
    struct view input; /* raw JSON; parsed here */
    int64_t starts; /* `started` records in the log, ours included (>= 1): a step's attempts go on
                       above those of earlier starts, attempt = (starts - 1) * retry.max_attempts +
                       n, so that older deltas are void */
    size_t step_output_max, job_output_max;
};
MUST_CHECK enum err_code task_new(const struct task_options *o, struct task **ret, struct err *err);
void task_free(struct task *t);
/* A checkpoint found in the log (value as in state.h). Before task_start only. */
MUST_CHECK enum err_code task_restore(struct task *t, struct view step, int64_t item,
                                      struct view value, struct err *err);

/* --- inputs: each may produce effects; take them all with task_next before the next input ---- */
struct task_usage {
    int64_t input_tokens, output_tokens; /* -1 unknown */
};
enum task_fault {
    TASK_FAULT_THROTTLE,  /* wait; burns no attempt */
    TASK_FAULT_OUTAGE,    /* the provider is away (no connection, 503, 529): back-off; burns no
                             attempt */
    TASK_FAULT_OVERLOAD,  /* back-off; an attempt */
    TASK_FAULT_EXHAUSTED, /* money or quota: wait long; burns no attempt */
    TASK_FAULT_FATAL,     /* the request itself */
    TASK_FAULT_BROKEN     /* cut, garbage, timeout: an attempt */
};
void task_start(struct task *t, int64_t now_ms);
/* Answer to TASK_EVAL: value JSON text, or the error text. */
void task_evaluated(struct task *t, uint32_t run, struct view source, struct view value,
                    const struct err *e, int64_t now_ms);
/* The call of TASK_CALL went out / brought text / ended. */
void task_call_started(struct task *t, uint32_t run, int64_t now_ms);
/* It was out and waits again (the provider refused it for now); task_call_started comes once more.
 * No attempt is burnt. */
void task_call_waits(struct task *t, uint32_t run, int64_t now_ms);
void task_call_text(struct task *t, uint32_t run, struct view text, int64_t now_ms);
void task_call_done(struct task *t, uint32_t run, struct view finish_reason,
                    struct task_usage usage, int64_t now_ms);
void task_call_failed(struct task *t, uint32_t run, enum task_fault fault, const struct err *e,
                      struct view provider_code, int64_t retry_after_ms, int64_t now_ms,
                      struct rng *rng);
void task_checkpointed(struct task *t, uint32_t run, int64_t now_ms);
void task_tick(struct task *t, int64_t now_ms); /* timers: retries, step timeouts */
/* Cancel or expiry: calls in hand are asked to be cut, then TASK_END. */
void task_close(struct task *t, enum job_status status, int64_t now_ms);
/* Starts no further run; TASK_PAUSED comes when nothing is in hand any more (at once when so).
 * task_undrain takes it back. */
void task_drain(struct task *t, int64_t now_ms);
void task_undrain(struct task *t, int64_t now_ms);

/* --- effects --------------------------------------------------------------------------------- */
enum task_effect_kind {
    TASK_EVAL,     /* source over root (JSON text): answer task_evaluated */
    TASK_CALL,     /* request: OpenAI-shaped chat request without model name; model = the workflow's
                      model name; max_tokens = its ceiling of output, 0 = none */
    TASK_CUT_CALL, /* cancel the call of this run; no answer */
    TASK_CHECKPOINT, /* write value under (step, item): answer task_checkpointed */
    TASK_EVENT,      /* event: type, step, item, attempt, members = JSON members to append
                        (",\"text\":..." without braces) */
    TASK_CHARGE,     /* usage of a finished call */
    TASK_WAKE,       /* call task_tick at when_ms (only the earliest counts) */
    TASK_END,        /* status, output raw or VIEW_NONE, error raw or VIEW_NONE */
    TASK_PAUSED
};
struct task_effect {
    enum task_effect_kind kind;
    uint32_t run;
    const char *step;      /* id; NULL for job-wide ones */
    int64_t item, attempt; /* item -1 = none */
    struct view source, root, request, value, output, error;
    const char *model;
    bool stream;
    int64_t timeout_ms, max_tokens;
    enum event_type event;
    struct view members;
    struct task_usage usage;
    enum job_status status;
    bool dead_letter; /* TASK_END: retries are exhausted, the job goes to the DLQ too */
    int64_t when_ms;
};
/* Pops the next effect; views are valid until the next call on t. False: none. */
bool task_next(struct task *t, struct task_effect *ret);
/* Nothing is in hand or behind it that a start from the checkpoints would lose: every run waits for
 * its call (or its retry) and is at its first try. */
bool task_may_park(const struct task *t);

#endif
