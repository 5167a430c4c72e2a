/* Usage as a table. Rows are kept until all pages are there, because the columns are as wide as the
 * widest number in them; numbers stand to the right, grouped by thousands. */
#include "producer/cli_sum.h"

#include "producer/cli_json.h"
#include "producer/cli_text.h"
#include <stdlib.h>

enum { SUM_ROWS_MAX = 100000, SUM_COLUMNS = 5, SUM_NAME_COLUMNS_MAX = 40, SUM_CELL = 40 };

struct sum_cells {
    char text[SUM_COLUMNS][SUM_CELL];
};

void cli_sum_init(struct cli_sum *s)
{
    *s = (struct cli_sum){.count = 0};
}

void cli_sum_fini(struct cli_sum *s)
{
    free(s->rows);
}

void cli_sum_group(int64_t n, char ret[CLI_GROUPED])
{
    char digits[BUF_DECIMAL];
    size_t len = buf_decimal(n, digits), at = 0;

    for (size_t i = 0; i < len; i++) {
        if (i > 0 && digits[i - 1] != '-' && (len - i) % 3 == 0) ret[at++] = ',';
        ret[at++] = digits[i];
    }
    ret[at] = '\0';
}

/* --- reading ------------------------------------------------------------------------------------
 */

static double sum_real(struct view object, const char *key)
{
    char text[40];
    struct view v = cli_json_raw(object, key);

    return json_raw_kind(v) == JSON_RAW_NUMBER && view_copy(v, text, sizeof text)
               ? strtod(text, NULL)
               : 0;
}

static void sum_read_counts(struct view object, struct cli_sum_row *r)
{
    r->calls = cli_json_int(object, "calls", 0);
    r->input = cli_json_int(object, "input_tokens", 0);
    r->cached = cli_json_int(object, "cached_input_tokens", 0);
    r->output = cli_json_int(object, "output_tokens", 0);
    r->unpriced = cli_json_int(object, "unpriced_calls", 0);
    r->cost = sum_real(object, "cost");
}

static struct cli_sum_row *sum_new_row(struct cli_sum *s)
{
    if (s->count == SUM_ROWS_MAX) return NULL;
    if (s->count == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 64;
        struct cli_sum_row *rows = realloc(s->rows, cap * sizeof *rows);
        if (!rows) return NULL;
        s->rows = rows;
        s->cap = cap;
    }
    return &s->rows[s->count++];
}

static void sum_add_up(struct cli_sum_row *sum, const struct cli_sum_row *r)
{
    sum->calls += r->calls;
    sum->input += r->input;
    sum->cached += r->cached;
    sum->output += r->output;
    sum->unpriced += r->unpriced;
    sum->cost += r->cost;
}

bool cli_sum_add(struct cli_sum *s, struct view answer)
{
    struct view data = cli_json_raw(answer, "data"), key, row;
    size_t cursor = 0;

    if (json_raw_kind(data) != JSON_RAW_ARRAY || !cli_json_text(answer, "by", s->by, sizeof s->by))
        return false;
    cli_json_text(answer, "from", s->from, sizeof s->from);
    cli_json_text(answer, "to", s->to, sizeof s->to);
    cli_json_text(answer, "tenant", s->tenant, sizeof s->tenant);
    cli_json_text(answer, "since", s->since, sizeof s->since);
    while (json_raw_each(data, &cursor, &key, &row)) {
        struct cli_sum_row *r = sum_new_row(s);
        if (!r) return false;
        *r = (struct cli_sum_row){.calls = 0};
        cli_json_text(row, s->by, r->name, sizeof r->name);
        sum_read_counts(row, r);
        sum_add_up(&s->total, r);
    }
    return true;
}

/* --- writing ------------------------------------------------------------------------------------
 */

static void sum_cells(const struct cli_sum_row *r, struct sum_cells *c)
{
    char number[CLI_GROUPED];
    const int64_t numbers[] = {r->calls, r->input, r->cached, r->output};

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        cli_sum_group(numbers[i], number);
        snprintf(c->text[i], SUM_CELL, "%s", number);
    }
    snprintf(c->text[SUM_COLUMNS - 1], SUM_CELL, "%s$%.4f", r->unpriced > 0 ? ">" : "", r->cost);
}

struct sum_widths {
    unsigned name;
    size_t column[SUM_COLUMNS];
};

static void sum_widen(struct sum_widths *w, const char *name, const struct sum_cells *c)
{
    unsigned width = cli_text_width(view_of(name));

    if (width > w->name) w->name = width < SUM_NAME_COLUMNS_MAX ? width : SUM_NAME_COLUMNS_MAX;
    for (size_t i = 0; i < SUM_COLUMNS; i++) {
        size_t len = strlen(c->text[i]);
        if (len > w->column[i]) w->column[i] = len;
    }
}

static void sum_put_row(struct buf *out, const struct sum_widths *w, const char *name,
                        const struct sum_cells *c)
{
    struct buf clean;

    buf_init(&clean, 1024);
    cli_text_put(&clean, view_of(name), CLI_ONE_LINE);
    cli_text_put_cell(out, buf_view(&clean), w->name);
    for (size_t i = 0; i < SUM_COLUMNS; i++)
        buf_printf(out, "  %*s", (int)w->column[i], c->text[i]);
    buf_put_char(out, '\n');
    buf_fini(&clean);
}

static const struct sum_cells sum_head = {{"CALLS", "INPUT", "CACHED", "OUTPUT", "COST"}};

static void sum_put_notes(const struct cli_sum *s, struct buf *out)
{
    char number[CLI_GROUPED];

    if (s->total.unpriced > 0) {
        cli_sum_group(s->total.unpriced, number);
        buf_printf(out, "> %s call%s of models without a price: not in the cost\n", number,
                   s->total.unpriced == 1 ? "" : "s");
    }
    if (s->since[0] && strncmp(s->since, s->from, 10) > 0)
        buf_printf(out, "counted since %s: what was used before is not here\n", s->since);
}

bool cli_sum_put(const struct cli_sum *s, struct buf *out)
{
    struct sum_widths w = {.name = 5};
    struct sum_cells c;
    char head[16];

    snprintf(head, sizeof head, "%s", s->by);
    for (char *p = head; *p; p++)
        if (*p >= 'a' && *p <= 'z') *p = (char)(*p - 'a' + 'A');
    sum_widen(&w, head, &sum_head);
    for (size_t i = 0; i < s->count; i++) {
        sum_cells(&s->rows[i], &c);
        sum_widen(&w, s->rows[i].name, &c);
    }
    sum_cells(&s->total, &c);
    sum_widen(&w, "total", &c);
    buf_printf(out, "%s to %s, %s%s\n", s->from, s->to, s->tenant[0] ? "tenant " : "all tenants",
               s->tenant);
    sum_put_row(out, &w, head, &sum_head);
    for (size_t i = 0; i < s->count; i++) {
        sum_cells(&s->rows[i], &c);
        sum_put_row(out, &w, s->rows[i].name, &c);
    }
    sum_cells(&s->total, &c);
    sum_put_row(out, &w, "total", &c);
    sum_put_notes(s, out);
    return !out->failed;
}
