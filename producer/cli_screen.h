#ifndef PRODUCER_CLI_SCREEN_H
#define PRODUCER_CLI_SCREEN_H
#include "producer/cli_job.h"

/* A watched job drawn for a terminal: a head, a line a step, and the end of the text that is being
 * written. Pure. */
struct cli_screen {
    unsigned columns, rows; /* of the terminal; at least 20 x 4 is assumed */
    int64_t now_ms;         /* wall */
    const char *note;       /* about the connection; NULL = none */
    bool has_color;
    bool is_last; /* the end: all steps, however many, and no running text */
};

/* Appends whole lines, none wider than the terminal, and returns their number (at most rows - 1,
 * but for the last): whoever draws again moves up that many. */
unsigned cli_screen_put(struct buf *out, const struct cli_job *j, const struct cli_screen *s);

#endif
