#ifndef PRODUCER_CLI_WAIT_H
#define PRODUCER_CLI_WAIT_H
#include "common/base/buf.h"

/* What a job waits for, in words: "budget of main/gpt-5-mini". reason and on as the event says
 * them; a reason that is not known is put as it is, cleaned. Pure. */
bool cli_wait_put(struct buf *out, const char *reason, const char *on);
/* ", about 14 s": until then from now; nothing when that is past or not known (<= 0). */
bool cli_wait_put_left(struct buf *out, int64_t until_ms, int64_t now_ms);

#endif
