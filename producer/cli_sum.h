#ifndef PRODUCER_CLI_SUM_H
#define PRODUCER_CLI_SUM_H
#include "common/base/buf.h"

/* The table of `sluice usage`: rows of one or more answers of GET /v1/usage, columns as wide as
 * what stands in them. Pure. */
struct cli_sum_row {
    char name[72];
    int64_t calls, input, cached, output, unpriced;
    double cost;
};
struct cli_sum {
    struct cli_sum_row *rows;
    size_t count, cap;
    struct cli_sum_row total;
    char by[16], from[16], to[16], tenant[72], since[40];
};

void cli_sum_init(struct cli_sum *s);
void cli_sum_fini(struct cli_sum *s);
/* One answer: checked JSON. False: no memory, or it is no answer of that call. */
bool cli_sum_add(struct cli_sum *s, struct view answer);
/* The head, the rows, their sum, and what should be known about them. */
bool cli_sum_put(const struct cli_sum *s, struct buf *out);

/* "1,234,567" */
enum { CLI_GROUPED = 32 };
void cli_sum_group(int64_t n, char ret[CLI_GROUPED]);

#endif
