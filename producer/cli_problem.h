#ifndef PRODUCER_CLI_PROBLEM_H
#define PRODUCER_CLI_PROBLEM_H
#include "common/base/buf.h"
#include "producer/cli_args.h"

/* A refused call in words. Pure. */
struct cli_refusal {
    int status;              /* HTTP */
    struct view body;        /* a problem detail, or whatever came */
    const char *url;         /* who was asked */
    int64_t retry_after_s;   /* 0 = not said */
    const char *idempotency; /* of a submission; else NULL */
};

/* Title, detail, place and a hint, a line each. False: out is full. */
bool cli_problem_put(struct buf *out, const struct cli_refusal *r);
/* An error's text without the name of the part that wrote it. Points into text. */
const char *cli_reason(const char *text);
/* No answer at all: what to look at. reason is the error's text. */
bool cli_away_put(struct buf *out, const char *url, const char *reason);
/* A submission that got no clear answer may have landed: what makes it the same job. Nothing for
 * NULL. */
void cli_maybe_landed_put(struct buf *out, const char *idempotency);
/* CLI_EXIT_AWAY where a later try may go through (503 and its like), else CLI_EXIT_FAILED. */
enum cli_exit cli_problem_exit(int status);
/* Worth another try with the same request: 502, 503, 504. */
bool cli_problem_is_passing(int status);

#endif
