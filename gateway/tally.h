#ifndef GATEWAY_TALLY_H
#define GATEWAY_TALLY_H
#include "schemas/fn_usage.h"

/* Usage summed by a name. Pure, bounded: past its ceiling, and without a name, what is counted is
 * summed in one row more, TALLY_REST. */
#define TALLY_REST "(other)"
struct tally;
struct tally_row {
    struct view name;
    struct fn_usage_counts counts;
};
struct tally *tally_new(size_t rows_max); /* NULL: no memory */
void tally_free(struct tally *t);
MUST_CHECK bool tally_add(struct tally *t, struct view name,
                          const struct fn_usage_counts *c); /* false: no memory */
/* Sorted by name, the rest last. NULL: no memory. Freed by the tally, valid until its next call. */
const struct tally_row *tally_rows(struct tally *t, size_t *ret_count);
const struct fn_usage_counts *tally_total(const struct tally *t);

#endif
