/* The table that `sluice list` prints: fixed columns, so that pages can be added as they come. */
#include "producer/cli_table.h"

#include "producer/cli_json.h"
#include "producer/cli_text.h"
#include "schemas/job.h"

enum {
    STATUS_COLUMNS = 9,
    WORKFLOW_COLUMNS = 24,
    CLASS_COLUMNS = 11,
    TIME_COLUMNS = 7,
    CELL_MAX = 256
};

static void table_put_head(struct cli_table *t)
{
    if (t->out.len == 0)
        buf_printf(&t->out, "%-*s  %-*s  %-*s  %-*s  %-*s  %-*s  %s\n", JOB_ID_LEN, "ID",
                   STATUS_COLUMNS, "STATUS", WORKFLOW_COLUMNS, "WORKFLOW", CLASS_COLUMNS, "CLASS",
                   TIME_COLUMNS, "AGE", TIME_COLUMNS, "TOOK", "ATTEMPT");
}

void cli_table_init(struct cli_table *t, size_t bytes_max)
{
    *t = (struct cli_table){.rows = 0};
    buf_init(&t->out, bytes_max);
}

void cli_table_fini(struct cli_table *t)
{
    buf_fini(&t->out);
}

static void table_put_cell(struct buf *out, struct view text, unsigned columns)
{
    struct buf clean;

    buf_init(&clean, 4 * (size_t)CELL_MAX);
    cli_text_put(&clean, text.len > CELL_MAX ? view_make(text.ptr, CELL_MAX) : text, CLI_ONE_LINE);
    cli_text_put_cell(out, buf_view(&clean), columns);
    buf_put_str(out, "  ");
    buf_fini(&clean);
}

static void table_put_member(struct buf *out, struct view job, const char *key, unsigned columns)
{
    char text[CELL_MAX];

    cli_json_text(job, key, text, sizeof text);
    table_put_cell(out, view_of(text), columns);
}

static bool table_time(struct view job, const char *key, int64_t *ret)
{
    char text[40];

    return cli_json_text(job, key, text, sizeof text) && clock_parse(view_of(text), ret);
}

static void table_put_span(struct buf *out, bool known, int64_t ms)
{
    char text[CLI_DURATION_TEXT] = "-";

    if (known) cli_text_duration(ms, text);
    table_put_cell(out, view_of(text), TIME_COLUMNS);
}

static void table_put_workflow(struct buf *out, struct view job)
{
    char name[WORKFLOW_NAME_MAX], text[WORKFLOW_NAME_MAX + 24];
    int64_t version = cli_json_int(job, "version", 0);

    cli_json_text(job, "workflow", name, sizeof name);
    if (version > 0 && !strchr(name, '@'))
        snprintf(text, sizeof text, "%s@%lld", name, (long long)version);
    else
        snprintf(text, sizeof text, "%s", name);
    table_put_cell(out, view_of(text), WORKFLOW_COLUMNS);
}

static void table_put_job(struct cli_table *t, struct view job, int64_t now_ms)
{
    int64_t created_ms = 0, started_ms = 0, ended_ms = 0;
    bool has_created = table_time(job, "created_at", &created_ms);
    bool has_started = table_time(job, "started_at", &started_ms),
         has_ended = table_time(job, "ended_at", &ended_ms);
    int64_t attempt = cli_json_int(job, "attempt", 0);

    table_put_member(&t->out, job, "id", JOB_ID_LEN);
    table_put_member(&t->out, job, "status", STATUS_COLUMNS);
    table_put_workflow(&t->out, job);
    table_put_member(&t->out, job, "class", CLASS_COLUMNS);
    table_put_span(&t->out, has_created, now_ms - created_ms);
    table_put_span(&t->out, has_started, (has_ended ? ended_ms : now_ms) - started_ms);
    buf_printf(&t->out, attempt > 0 ? "%lld\n" : "-\n", (long long)attempt);
    t->rows++;
}

void cli_table_add(struct cli_table *t, struct view page, int64_t now_ms)
{
    struct view data = cli_json_raw(page, "data"), key, job;
    size_t cursor = 0;

    table_put_head(t);
    while (json_raw_kind(data) == JSON_RAW_ARRAY && json_raw_each(data, &cursor, &key, &job))
        table_put_job(t, job, now_ms);
}

struct view cli_table_text(struct cli_table *t)
{
    table_put_head(t);
    return buf_view(&t->out);
}
