/* Nearest name by optimal string alignment distance.
 *
 * Three rows of the table are enough (a swap looks two rows back). A candidate counts when it is a
 * third of the word away or less, at least one edit and at most four: beyond that a suggestion is
 * noise. */
#include "schemas/suggest.h"
#include <assert.h>

static unsigned suggest_min(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

unsigned suggest_distance(struct view a, struct view b)
{
    if (a.len > SUGGEST_NAME_MAX || b.len > SUGGEST_NAME_MAX) return SUGGEST_NAME_MAX + 1;
    unsigned rows[3][SUGGEST_NAME_MAX + 1];
    for (unsigned j = 0; j <= b.len; j++) rows[0][j] = j;
    for (unsigned i = 1; i <= a.len; i++) {
        unsigned *now = rows[i % 3], *before = rows[(i + 2) % 3], *second = rows[(i + 1) % 3];
        now[0] = i;
        for (unsigned j = 1; j <= b.len; j++) {
            unsigned cost = a.ptr[i - 1] != b.ptr[j - 1];
            now[j] = suggest_min(suggest_min(before[j] + 1, now[j - 1] + 1), before[j - 1] + cost);
            bool is_swap =
                i > 1 && j > 1 && a.ptr[i - 1] == b.ptr[j - 2] && a.ptr[i - 2] == b.ptr[j - 1];
            if (is_swap) now[j] = suggest_min(now[j], second[j - 2] + 1);
        }
    }
    return rows[a.len % 3][b.len];
}

void suggest_init(struct suggest *s, struct view wanted)
{
    assert(s);
    unsigned third = (unsigned)(wanted.len > SUGGEST_NAME_MAX ? 0 : (wanted.len + 2) / 3);
    s->wanted = wanted;
    s->best = VIEW_NONE;
    s->distance = suggest_min(third, 4) + 1;
}

void suggest_offer(struct suggest *s, struct view candidate)
{
    unsigned distance = suggest_distance(s->wanted, candidate);
    if (distance >= s->distance || distance >= candidate.len) return;
    s->distance = distance;
    s->best = candidate;
}
