#ifndef PRODUCER_CLI_LINES_H
#define PRODUCER_CLI_LINES_H
#include "producer/cli_job.h"

/* Events as plain lines for people: TIME TYPE WHAT. Text comes in whole lines, long ones cut at a
 * space, as `TIME step.delta STEP | text`; an unfinished one is put out before whatever ends it.
 * Pure. */

/* Folds e into j and appends the lines it is worth. False: no memory, or out is full. */
bool cli_lines_put(struct buf *out, struct cli_job *j, const struct cli_event *e);

#endif
