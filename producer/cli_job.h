#ifndef PRODUCER_CLI_JOB_H
#define PRODUCER_CLI_JOB_H
#include "producer/cli_args.h"
#include "producer/cli_event.h"

/* A job as a watcher sees it, folded from its events: what the terminal and the plain lines are
 * drawn from. Pure, bounded: beyond CLI_STEPS_MAX steps and CLI_STREAMS_MAX texts at once the rest
 * is not shown. */
enum {
    CLI_STEPS_MAX = 256,
    CLI_STREAMS_MAX = 64,
    CLI_TAIL_MAX = 16 << 10, /* bytes kept of a running text once they were shown */
};

enum cli_step_status {
    CLI_STEP_RUNNING,
    CLI_STEP_RETRYING,
    CLI_STEP_COMPLETED,
    CLI_STEP_FAILED,
    CLI_STEP_SKIPPED
};

struct cli_step {
    char id[STEP_ID_MAX];
    enum cli_step_status status;
    int64_t attempt;
    int64_t total, done, failed;  /* of a foreach; total 0: not known, or no foreach */
    int64_t started_ms, ended_ms; /* 0 = not known */
    int64_t output_tokens;
    char error[64]; /* code of a failure, "" = none */
};

/* The text of one running call. */
struct cli_stream {
    bool is_open;
    size_t step;
    int64_t item, attempt;
    uint64_t order;  /* the smallest was opened first */
    struct buf text; /* the last of it */
    size_t shown;    /* bytes at the front of text that a line writer has put out */
};

struct cli_job {
    char id[JOB_ID_LEN + 1], workflow[WORKFLOW_NAME_MAX], class_name[16];
    int64_t version, attempt;
    enum job_status status;
    /* of waiting, and of queued where the gateway guesses; "": not said (of what) */
    char reason[32], on[200];
    int64_t until_ms;
    int64_t created_ms, ended_ms; /* 0 = not known */
    int64_t input_tokens, output_tokens;
    char cost[32];  /* as the server wrote it; "" = not known */
    struct buf end; /* data of the terminal event; empty before it */
    size_t step_count;
    struct cli_step steps[CLI_STEPS_MAX];
    struct cli_stream streams[CLI_STREAMS_MAX];
    uint64_t opened; /* streams so far */
};

struct cli_job *cli_job_new(const char *id); /* NULL: no memory */
void cli_job_free(struct cli_job *j);

/* Takes one event. Events that were seen before must be left out by the caller. False: no memory.
 */
bool cli_job_fold(struct cli_job *j, const struct cli_event *e);
/* The step of an event, or SIZE_MAX. */
size_t cli_job_step(const struct cli_job *j, const char *id);
/* The running text of a step's item; NULL: none. */
struct cli_stream *cli_job_stream(struct cli_job *j, size_t step, int64_t item);
/* The text a watcher should be shown: the one that has been running longest; NULL: none. */
const struct cli_stream *cli_job_focus(const struct cli_job *j);
/* reason, on and until of a wait; absent members are emptied. */
void cli_job_take_waiting(struct cli_job *j, struct view object);
const char *cli_step_status_name(enum cli_step_status s);
/* Exit status of an ended job. */
enum cli_exit cli_job_exit(enum job_status status);

#endif
