#ifndef SCHEMAS_SUGGEST_H
#define SCHEMAS_SUGGEST_H
#include "common/base/view.h"

/* "Did you mean ...": the best of a list of names for a mistyped one. Feed candidates one by one.
 * Pure, bounded: names longer than SUGGEST_NAME_MAX never match. */
enum { SUGGEST_NAME_MAX = 64 };

struct suggest {
    struct view wanted;
    struct view best; /* VIEW_NONE: nothing near enough; borrowed from what was offered */
    unsigned distance;
};

void suggest_init(struct suggest *s, struct view wanted);
void suggest_offer(struct suggest *s, struct view candidate);
/* Edits (insert, delete, replace, swap of neighbours) that turn a into b; at most SUGGEST_NAME_MAX
 * + 1. */
unsigned suggest_distance(struct view a, struct view b);

#endif
