#ifndef GATEWAY_QUOTA_H
#define GATEWAY_QUOTA_H
#include "common/base/port.h"

/* How many unended jobs a tenant has, as far as this gateway knows: the last count Redis told
 * (q:{tenant}, at most QUOTA_FRESH_MS old when somebody is refused by it) and what this gateway has
 * under way. Gateways may together overshoot a limit by what they accept within that second.
 * Without Redis nobody is refused. */
struct quota;
enum { QUOTA_FRESH_MS = 1000 };

struct quota *quota_new(struct redis_port redis, const struct clock *clock); /* clock is borrowed */
void quota_free(struct quota *q); /* no answers may come afterwards */

enum quota_verdict {
    QUOTA_OK,   /* counted as under way: pair with quota_settle */
    QUOTA_OVER, /* the limit is used up */
    QUOTA_ASK   /* perhaps: call quota_ask, then ask again */
};
/* max_queued 0 = no limit. */
enum quota_verdict quota_take(struct quota *q, struct view tenant, int64_t max_queued);
/* Refreshes the count; done is called once, never from inside the call; quota_take does not say ASK
 * then. False: no memory to ask with; take again at once, the count was forgotten. */
bool quota_ask(struct quota *q, struct view tenant, void (*done)(void *arg), void *arg);
/* One job under way has become part of the count (queued: what Redis said, -1 = unknown) or came to
 * nothing. */
void quota_settle(struct quota *q, struct view tenant, int64_t queued);

#endif
