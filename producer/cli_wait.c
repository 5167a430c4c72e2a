/* Waiting in words. The reasons are few and known (schemas/event.schema.json); where a newer server
 * has another one, its own word is still better than none. */
#include "producer/cli_wait.h"

#include "producer/cli_text.h"

static const struct {
    const char *reason, *words, *alone; /* alone: when it is not said of what */
} waits[] = {
    {"budget", "budget of ", "budget"},
    {"closed", "the end of a refusal by ", "the end of a provider's refusal"},
    {"outage", "the return of ", "the return of a provider"},
    {"exhausted", "quota or credit of ", "a provider's quota or credit"},
    {"concurrency", "a free call of ", "a free call"},
    {"spend", "tomorrow's spend of ", "tomorrow's spend"},
    {"tenant_budget", "the tenant's budget of tomorrow, ", "the tenant's budget of tomorrow"},
    {"key", "other jobs of its key, ", "other jobs of its key"},
};

bool cli_wait_put(struct buf *out, const char *reason, const char *on)
{
    size_t i = 0;
    while (i < sizeof waits / sizeof *waits && strcmp(waits[i].reason, reason) != 0) i++;
    bool is_known = i < sizeof waits / sizeof *waits;
    if (is_known)
        buf_put_str(out, on[0] ? waits[i].words : waits[i].alone);
    else
        cli_text_put(out, view_of(reason), CLI_ONE_LINE);
    if (on[0] && !is_known) buf_put_char(out, ' ');
    return cli_text_put(out, view_of(on), CLI_ONE_LINE);
}

bool cli_wait_put_left(struct buf *out, int64_t until_ms, int64_t now_ms)
{
    char text[CLI_DURATION_TEXT];
    int64_t left_ms = until_ms - now_ms;
    if (until_ms <= 0 || left_ms <= 0) return !out->failed;
    if (left_ms < 1000) return buf_put_str(out, ", less than a second");
    if (left_ms < 60000)
        return buf_printf(out, ", about %lld s", (long long)((left_ms + 500) / 1000));
    cli_text_duration(left_ms, text);
    return buf_printf(out, ", about %s", text);
}
