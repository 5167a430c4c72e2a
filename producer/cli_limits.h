#ifndef PRODUCER_CLI_LIMITS_H
#define PRODUCER_CLI_LIMITS_H
#include "common/base/buf.h"

/* The picture of `sluice limits`: an answer of GET /v1/limits as lines, a head for each budget and
 * a line for each of its limits. Pure. */
struct cli_limits_look {
    unsigned columns, rows; /* rows 0: as many as there are */
    int64_t now_ms;         /* wall */
    const char *note;       /* about the connection; NULL = none */
    bool has_color, has_bars;
};
/* Appends whole lines, none wider than columns, and returns their number (at most rows - 1).
 * answer: checked JSON. */
unsigned cli_limits_put(struct buf *out, struct view answer, const struct cli_limits_look *look);
/* 9999, 12.3k, 200k, 1.25M */
enum { CLI_AMOUNT = 24 };
void cli_limits_amount(int64_t n, char ret[CLI_AMOUNT]);

#endif
