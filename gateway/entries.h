#ifndef GATEWAY_ENTRIES_H
#define GATEWAY_ENTRIES_H
#include "common/base/port.h"
#include "schemas/event.h"

/* A job's stream in Redis as its readers see it: how to ask for a range, and what an entry is. */
struct entry { /* borrowed from the reply */
    struct event_id id;
    struct view name; /* the type as it stands there: a newer writer's type goes through */
    struct view data;
    enum event_type type; /* EVENT_TYPE_COUNT: not one of ours */
};

/* At most count entries after an id ({0, 0} = from the start), oldest first. */
void entries_ask(struct redis_port redis, const struct job_id *job, struct event_id after,
                 size_t count, redis_reply_fn *fn, void *arg);
/* The newest entry alone. */
void entries_ask_newest(struct redis_port redis, const struct job_id *job, redis_reply_fn *fn,
                        void *arg);
/* Element i of such an answer. False: not an entry of ours (skip it: what is missing shows as a
 * gap). */
bool entry_read(const struct reply *r, size_t i, struct entry *ret);
/* True: the answer is a list of entries (perhaps none). */
bool entries_are(const struct reply *r, const struct err *e);

int event_id_compare(struct event_id a, struct event_id b); /* the order of the stream */

#endif
