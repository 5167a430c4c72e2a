#ifndef CONSUMER_FOREIGN_H
#define CONSUMER_FOREIGN_H
#include "consumer/worker_priv.h"

/* Records whose job is leased by another incarnation. One question per owner and round (is its
 * heartbeat there?), not one per job; when it is gone its jobs line up again and are taken over. An
 * owner "" stands for "look again in a while". */
struct foreign;
struct foreign *foreign_new(struct worker *w); /* NULL: no memory */
void foreign_free(struct foreign *f);          /* items are their homes' */
void foreign_add(struct foreign *f, struct item *it, struct view owner);
void foreign_remove(struct foreign *f, struct item *it);
size_t foreign_count(const struct foreign *f);

#endif
