/* Findings as lines. */
#include "producer/cli_report.h"

#include "producer/cli_text.h"

enum { REPORT_MAX = 1 << 20, TEXT_MAX = 1024, SUBJECT_COLUMNS = 10 };

static const struct {
    const char *word, *color;
} report_verdicts[] = {
    [CLI_OK] = {"ok  ", "\x1b[32m"},
    [CLI_WARN] = {"warn", "\x1b[33m"},
    [CLI_FAIL] = {"fail", "\x1b[31m"},
    [CLI_SKIP] = {"skip", "\x1b[2m"},
};

void cli_report_init(struct cli_report *r, bool has_color)
{
    *r = (struct cli_report){.has_color = has_color};
    buf_init(&r->out, REPORT_MAX);
}

void cli_report_fini(struct cli_report *r)
{
    buf_fini(&r->out);
}

void cli_report_put(struct cli_report *r, enum cli_verdict v, const char *subject,
                    const char *advice, const char *fmt, ...)
{
    char text[TEXT_MAX];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    r->oks += v == CLI_OK;
    r->warns += v == CLI_WARN;
    r->fails += v == CLI_FAIL;
    if (r->has_color) buf_put_str(&r->out, report_verdicts[v].color);
    buf_put_str(&r->out, report_verdicts[v].word);
    if (r->has_color) buf_put_str(&r->out, "\x1b[0m");
    buf_printf(&r->out, "  %-*s ", SUBJECT_COLUMNS, subject);
    cli_text_put(&r->out, view_of(text), CLI_ONE_LINE);
    buf_put_char(&r->out, '\n');
    if (!advice) return;
    buf_printf(&r->out, "      %-*s -> ", SUBJECT_COLUMNS, "");
    cli_text_put(&r->out, view_of(advice), CLI_ONE_LINE);
    buf_put_char(&r->out, '\n');
}

void cli_report_put_sum(struct cli_report *r)
{
    buf_printf(&r->out, "%zu ok, %zu warnings, %zu failures\n", r->oks, r->warns, r->fails);
}
