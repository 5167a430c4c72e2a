#ifndef PRODUCER_CLI_REPORT_H
#define PRODUCER_CLI_REPORT_H
#include "common/base/buf.h"

/* The lines that doctor prints: a verdict, what was looked at, what was found, and what to do.
 * Pure. */
enum cli_verdict { CLI_OK, CLI_WARN, CLI_FAIL, CLI_SKIP };

struct cli_report {
    struct buf out; /* whoever prints takes what is there and resets it */
    size_t oks, warns, fails;
    bool has_color;
};

void cli_report_init(struct cli_report *r, bool has_color);
void cli_report_fini(struct cli_report *r);
/* advice: what to do, NULL for none (the rule for CLI_OK). */
void cli_report_put(struct cli_report *r, enum cli_verdict v, const char *subject,
                    const char *advice, const char *fmt, ...) PRINTF_LIKE(5, 6);
void cli_report_put_sum(struct cli_report *r);

#endif
