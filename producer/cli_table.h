#ifndef PRODUCER_CLI_TABLE_H
#define PRODUCER_CLI_TABLE_H
#include "common/base/buf.h"

/* A table of jobs. Pure. Columns: id, status, workflow, class, age, how long it took or has taken
 * by now, attempt. */
struct cli_table {
    struct buf out;
    size_t rows;
};

void cli_table_init(struct cli_table *t, size_t bytes_max);
void cli_table_fini(struct cli_table *t);
/* One page's answer: checked JSON with `data`, an array of jobs. */
void cli_table_add(struct cli_table *t, struct view page, int64_t now_ms);
/* The head and all rows; the head alone when there are none. Borrowed. */
struct view cli_table_text(struct cli_table *t);

#endif
