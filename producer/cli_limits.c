/* Budgets in a terminal.
 *
 *   fast  main/gpt-5-mini  open  440 waiting  3 calls  2 workers
 *     requests  ####################       59 of     60 a minute  configured  next in 0.8s
 *     input     ##                       12.3k of   200k a minute  told
 *
 * It is drawn over itself each second, so nothing may jump: every figure has its column, and lines
 * are cut to the terminal's width by our own measure. A limit that is neither set nor known is
 * shown only where something was used. */
#include "producer/cli_limits.h"

#include "producer/cli_json.h"
#include "producer/cli_text.h"
#include "producer/cli_wait.h"

enum { LIMITS_LINE_MAX = 4096, LIMITS_BAR = 20, LIMITS_COLUMNS_MIN = 20, LIMITS_NAME_MAX = 280 };

struct limits_drawing {
    struct buf *out, line;
    const struct cli_limits_look *look;
    unsigned rows, hidden;
};

void cli_limits_amount(int64_t n, char ret[CLI_AMOUNT])
{
    static const struct {
        int64_t unit;
        char letter;
    } units[] = {{1000000000, 'G'}, {1000000, 'M'}, {1000, 'k'}};
    for (size_t i = 0; n >= 10000 && i < sizeof units / sizeof *units; i++) {
        if (n < units[i].unit) continue;
        double x = (double)n / (double)units[i].unit;
        snprintf(ret, CLI_AMOUNT, "%.*f%c", x < 10 ? 2 : x < 100 ? 1 : 0, x, units[i].letter);
        return;
    }
    snprintf(ret, CLI_AMOUNT, "%lld", (long long)n);
}

/* --- lines --------------------------------------------------------------------------------------
 */

static void limits_end_line(struct limits_drawing *d, const char *color)
{
    const struct cli_limits_look *k = d->look;
    struct view line = buf_view(&d->line);
    bool fits = k->rows == 0 || d->rows + 2 < k->rows; /* one row is kept for the note */

    while (line.len > 0 && line.ptr[line.len - 1] == ' ') line.len--;
    if (!fits) {
        d->hidden++;
    } else {
        unsigned columns = k->columns > LIMITS_COLUMNS_MIN ? k->columns - 1 : LIMITS_COLUMNS_MIN;
        if (k->has_color && color) buf_put_str(d->out, color);
        if (cli_text_width(line) > columns)
            cli_text_put_cell(d->out, line, columns);
        else
            buf_put_view(d->out, line);
        if (k->has_color && color) buf_put_str(d->out, "\x1b[0m");
        buf_put_char(d->out, '\n');
        d->rows++;
    }
    buf_reset(&d->line);
}

static bool limits_number(struct view object, const char *key, int64_t *ret)
{
    struct view v = cli_json_raw(object, key);
    return view_i64(v, ret);
}

static void limits_put_text(struct limits_drawing *d, struct view object, const char *key)
{
    char text[LIMITS_NAME_MAX];
    cli_json_text(object, key, text, sizeof text);
    cli_text_put(&d->line, view_of(text), CLI_ONE_LINE);
}

/* --- one limit ----------------------------------------------------------------------------------
 */

static void limits_put_bar(struct limits_drawing *d, int64_t used, int64_t limit)
{
    int64_t full = limit > 0 ? used * LIMITS_BAR / limit : 0;
    if (!d->look->has_bars) return;
    if (full > LIMITS_BAR) full = LIMITS_BAR;
    if (full == 0 && used > 0 && limit > 0) full = 1;
    for (int i = 0; i < LIMITS_BAR; i++)
        buf_put_str(&d->line, i < full ? "\xE2\x96\x88" : " "); /* a full block */
    buf_put_str(&d->line, "  ");
}

static void limits_put_next(struct limits_drawing *d, struct view dim)
{
    char text[CLI_DURATION_TEXT];
    int64_t next_ms = 0, foreign = 0;
    if (limits_number(dim, "next_ms", &next_ms) && next_ms > 0) {
        cli_text_duration(next_ms, text);
        buf_printf(&d->line, "  next in %s", text);
    }
    if (limits_number(dim, "foreign", &foreign) && foreign > 0) {
        cli_limits_amount(foreign, text);
        buf_printf(&d->line, "  %s by strangers", text);
    }
}

static void limits_put_dim(struct limits_drawing *d, struct view budget, const char *member,
                           const char *label)
{
    struct view dim = cli_json_raw(budget, member);
    char source[16], used_text[CLI_AMOUNT], limit_text[CLI_AMOUNT] = "?";
    int64_t used = 0, limit = 0;
    bool has_limit = limits_number(dim, "limit", &limit);
    (void)limits_number(dim, "used", &used);
    if (!has_limit && used == 0) return;
    cli_limits_amount(used, used_text);
    if (has_limit) cli_limits_amount(limit, limit_text);
    buf_printf(&d->line, "    %-8s  ", label);
    limits_put_bar(d, used, has_limit ? limit : 0);
    cli_json_text(dim, "source", source, sizeof source);
    buf_printf(&d->line, "%6s of %6s a minute  %-10s", used_text, limit_text,
               source[0]   ? source
               : has_limit ? ""
                           : "not known");
    limits_put_next(d, dim);
    limits_end_line(d, has_limit && used >= limit ? "\x1b[33m" : NULL);
}

static void limits_put_day(struct limits_drawing *d, struct view budget, const char *member,
                           const char *label, const char *of)
{
    struct view day = cli_json_raw(budget, member);
    char used[32] = "0", limit[32];
    struct view v = cli_json_raw(day, "limit");
    if (json_raw_kind(v) != JSON_RAW_NUMBER || !view_copy(v, limit, sizeof limit)) return;
    v = cli_json_raw(day, "used");
    if (json_raw_kind(v) == JSON_RAW_NUMBER) (void)view_copy(v, used, sizeof used);
    buf_printf(&d->line, "    %-8s  ", label);
    if (d->look->has_bars) buf_printf(&d->line, "%*s", LIMITS_BAR + 2, "");
    buf_printf(&d->line, "%6s of %6s %s", used, limit, of);
    limits_end_line(d, NULL);
}

/* --- one budget ---------------------------------------------------------------------------------
 */

static const char *limits_color(const char *state)
{
    if (strcmp(state, "closed") == 0) return "\x1b[31m";
    return strcmp(state, "open") == 0 ? "\x1b[1m" : "\x1b[33m";
}

static void limits_put_state(struct limits_drawing *d, struct view budget, const char *state)
{
    char reason[24];
    int64_t until_ms = 0;
    struct view ramp = cli_json_raw(budget, "ramp");
    cli_text_put(&d->line, view_of(state), CLI_ONE_LINE);
    if (strcmp(state, "ramp") == 0 && json_raw_kind(ramp) == JSON_RAW_NUMBER)
        buf_printf(&d->line, " (%.*s of the limit)", (int)ramp.len, ramp.ptr);
    if (!cli_json_text(budget, "reason", reason, sizeof reason)) return;
    buf_printf(&d->line, " (%s", strcmp(reason, "throttle") == 0 ? "429" : reason);
    if (limits_number(budget, "until", &until_ms))
        cli_wait_put_left(&d->line, until_ms, d->look->now_ms);
    buf_put_char(&d->line, ')');
}

static void limits_put_figure(struct limits_drawing *d, int64_t n, bool always, const char *one,
                              const char *many)
{
    char text[CLI_AMOUNT];
    if (n <= 0 && !always) return;
    cli_limits_amount(n, text);
    buf_printf(&d->line, "  %s %s", text, n == 1 ? one : many);
}

static void limits_put_budget(struct limits_drawing *d, const char *model, struct view budget)
{
    char state[16], key[72];
    struct view calls = cli_json_raw(budget, "concurrency");
    cli_json_text(budget, "state", state, sizeof state);
    cli_text_put(&d->line, view_of(model), CLI_ONE_LINE);
    buf_put_str(&d->line, "  ");
    limits_put_text(d, budget, "provider");
    buf_put_char(&d->line, '/');
    limits_put_text(d, budget, "model");
    if (cli_json_text(budget, "key", key, sizeof key) && strcmp(key, "default") != 0) {
        buf_put_str(&d->line, " key ");
        cli_text_put(&d->line, view_of(key), CLI_ONE_LINE);
    }
    buf_put_str(&d->line, "  ");
    limits_put_state(d, budget, state);
    limits_put_figure(d, cli_json_int(budget, "waiters", 0), true, "waiting", "waiting");
    limits_put_figure(d, cli_json_int(calls, "used", 0), true, "call", "calls");
    limits_put_figure(d, cli_json_int(budget, "workers", 0), true, "worker", "workers");
    limits_put_figure(d, cli_json_int(budget, "refusals", 0), true, "x 429", "x 429");
    limits_put_figure(d, cli_json_int(budget, "closes", 0), false, "close", "closes");
    limits_put_figure(d, cli_json_int(budget, "fails", 0), false, "failure", "failures");
    limits_end_line(d, limits_color(state));
    limits_put_dim(d, budget, "requests", "requests");
    limits_put_dim(d, budget, "input_tokens", "input");
    limits_put_dim(d, budget, "output_tokens", "output");
    limits_put_dim(d, budget, "tokens", "tokens");
    limits_put_day(d, budget, "requests_per_day", "requests", "today");
    limits_put_day(d, budget, "spend_per_day", "spend $", "today");
    limits_put_day(d, budget, "concurrency", "calls", "at once");
}

static void limits_put_tenant(struct limits_drawing *d, struct view tenant)
{
    char id[72];
    bool has_tokens = json_raw_kind(cli_json_raw(cli_json_raw(tenant, "tokens_per_day"),
                                                 "limit")) == JSON_RAW_NUMBER;
    bool has_spend = json_raw_kind(cli_json_raw(cli_json_raw(tenant, "spend_per_day"), "limit")) ==
                     JSON_RAW_NUMBER;
    int64_t jobs = cli_json_int(tenant, "unfinished_jobs", 0);
    if (!has_tokens && !has_spend && jobs == 0) return;
    cli_json_text(tenant, "id", id, sizeof id);
    buf_put_str(&d->line, "tenant ");
    cli_text_put(&d->line, view_of(id), CLI_ONE_LINE);
    limits_put_figure(d, jobs, false, "job unfinished", "jobs unfinished");
    limits_end_line(d, "\x1b[1m");
    limits_put_day(d, tenant, "tokens_per_day", "tokens", "today");
    limits_put_day(d, tenant, "spend_per_day", "spend $", "today");
}

/* --- the whole ----------------------------------------------------------------------------------
 */

unsigned cli_limits_put(struct buf *out, struct view answer, const struct cli_limits_look *look)
{
    struct limits_drawing d = {.out = out, .look = look};
    struct view data = cli_json_raw(answer, "data"), key, row, budget;
    char model[72];
    size_t cursor = 0;
    buf_init(&d.line, LIMITS_LINE_MAX);
    while (json_raw_kind(data) == JSON_RAW_ARRAY && json_raw_each(data, &cursor, &key, &row)) {
        struct view route = cli_json_raw(row, "route");
        size_t at = 0;
        cli_json_text(row, "model", model, sizeof model);
        while (json_raw_kind(route) == JSON_RAW_ARRAY && json_raw_each(route, &at, &key, &budget))
            limits_put_budget(&d, model, budget);
    }
    if (cursor == 0) {
        buf_put_str(&d.line, "no models are configured");
        limits_end_line(&d, NULL);
    }
    limits_put_tenant(&d, cli_json_raw(answer, "tenant"));
    if (d.hidden > 0 || look->note) {
        if (look->note)
            cli_text_put(&d.line, view_of(look->note), CLI_ONE_LINE);
        else
            buf_printf(&d.line, "%u lines more: --model NAME shows one", d.hidden);
        struct cli_limits_look one = *look;
        one.rows = 0; /* the row that was kept for this */
        d.look = &one;
        limits_end_line(&d, "\x1b[2m");
    }
    buf_fini(&d.line);
    return d.rows;
}
