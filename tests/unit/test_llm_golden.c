/* Recorded replies of every dialect, fed at every split, and requests as every dialect says them.
 *
 * tests/golden/llm/replies/DIALECT/NAME/reply.txt: lines of a head (`:status`, `:asked
 * stream|whole`,
 * `:end reset|timeout`, then headers), an empty line, the body's bytes; what must come of it is in
 * expect.txt. tests/golden/llm/requests/NAME: request.json, and DIALECT.txt for each dialect. */
#include "common/base/json.h"
#include "consumer/llm.h"
#include "tests/unit/golden.h"
#include <jansson.h>

enum { WALL_MS_SIZE = 32, HEADERS_MAX = 24, STEP_MAX = 48 };
#define WALL "2026-11-25T12:00:00Z" /* now, in every recording */

struct dialect {
    const char *name;
    struct config_provider provider;
};

static const struct dialect *dialect_of(const char *name)
{
    static char openai[] = "https://api.openai.com/v1", azure[] = "https://me.openai.azure.com",
                azure_v1[] = "https://me.openai.azure.com/openai/v1",
                vllm[] = "http://127.0.0.1:8000/v1", anthropic[] = "https://api.anthropic.com",
                gemini[] = "https://generativelanguage.googleapis.com", v2024[] = "2024-10-21",
                v2023[] = "2023-06-01", v2026[] = "2026-10-21", beta[] = "v1beta",
                preview[] = "2025-04-01-preview";
    static const struct dialect all[] = {
        {"openai-chat", {.name = "main", .kind = PROVIDER_OPENAI, .base_url = openai}},
        {"openai-responses",
         {.name = "main", .kind = PROVIDER_OPENAI, .api = PROVIDER_RESPONSES, .base_url = openai}},
        {"azure-chat",
         {.name = "main", .kind = PROVIDER_AZURE, .base_url = azure, .api_version = v2024}},
        {"azure-responses",
         {.name = "main",
          .kind = PROVIDER_AZURE,
          .api = PROVIDER_RESPONSES,
          .base_url = azure,
          .api_version = preview}},
        {"azure-v1-chat", {.name = "main", .kind = PROVIDER_AZURE, .base_url = azure_v1}},
        {"vllm-chat", {.name = "main", .kind = PROVIDER_VLLM, .base_url = vllm}},
        {"anthropic",
         {.name = "main", .kind = PROVIDER_ANTHROPIC, .base_url = anthropic, .api_version = v2023}},
        {"anthropic-2026-10-21",
         {.name = "main", .kind = PROVIDER_ANTHROPIC, .base_url = anthropic, .api_version = v2026}},
        {"gemini",
         {.name = "main", .kind = PROVIDER_GEMINI, .base_url = gemini, .api_version = beta}},
        {NULL, {.base_url = NULL}}};

    if (!name) return all;
    for (size_t i = 0; all[i].name; i++)
        if (strcmp(all[i].name, name) == 0) return &all[i];
    fail_msg("no dialect %s", name);
    return NULL;
}

/* --- a recording ------------------------------------------------------------------------------ */

struct recording {
    const struct config_provider *provider;
    struct buf file;
    int status;
    bool stream;
    struct err end;
    struct http_header headers[HEADERS_MAX];
    size_t header_count;
    struct view body;
};

static void read_head_line(struct recording *r, struct view line)
{
    struct view name, value;
    uint64_t status;

    if (view_starts(line, ":status ")) {
        assert_true(view_u64(view_make(line.ptr + 8, line.len - 8), &status));
        r->status = (int)status;
    } else if (view_starts(line, ":asked ")) {
        r->stream = view_eq_str(line, ":asked stream");
    } else if (view_starts(line, ":end ")) {
        (void)err_set(&r->end, view_eq_str(line, ":end timeout") ? ERR_TIMEOUT : ERR_UNAVAILABLE,
                      "%.*s", (int)(line.len - 5), line.ptr + 5);
    } else {
        assert_true(view_cut(line, ':', &name, &value));
        assert_true(r->header_count < HEADERS_MAX);
        r->headers[r->header_count++] =
            (struct http_header){.name = name, .value = view_trim(value)};
    }
}

static void load(struct recording *r, const char *folder, const char *dialect)
{
    GOLDEN_PATH(path, "%s/reply.txt", folder);
    struct view rest, line;

    memset(r, 0, sizeof *r);
    r->provider = &dialect_of(dialect)->provider;
    if (!golden_read(path, &r->file)) fail_msg("no %s", path);
    rest = buf_view(&r->file);
    while (view_cut(rest, '\n', &line, &rest) && line.len) read_head_line(r, line);
    r->body = rest;
}

/* --- playing it ------------------------------------------------------------------------------- */

struct outcome {
    struct buf text, told; /* told: the last facts, as text */
    enum llm_verdict verdict;
    int64_t early_input; /* input tokens known when the first text came */
    bool has_text;
};

static void put_limit(struct buf *b, const char *name, const struct llm_limit *l)
{
    if (l->limit < 0 && l->remaining < 0 && l->reset_ms < 0) return;
    buf_printf(b, "limit %s: %lld, remaining %lld, reset %lld ms\n", name, (long long)l->limit,
               (long long)l->remaining, (long long)l->reset_ms);
}

static void put_failure(struct buf *b, const struct llm_out *out)
{
    static const char *const faults[] = {
        [TASK_FAULT_THROTTLE] = "throttle", [TASK_FAULT_OUTAGE] = "outage",
        [TASK_FAULT_OVERLOAD] = "overload", [TASK_FAULT_EXHAUSTED] = "exhausted",
        [TASK_FAULT_FATAL] = "fatal",       [TASK_FAULT_BROKEN] = "broken"};

    buf_printf(b, "fault: %s\ncode: %s\nerror: %s\n", faults[out->fault], out->code, out->err.text);
    if (out->retry_after_ms >= 0)
        buf_printf(b, "retry after: %lld ms\n", (long long)out->retry_after_ms);
    if (out->context_too_long) buf_put_str(b, "context too long\n");
    if (out->is_daily) buf_put_str(b, "daily\n");
    assert_null(strstr(out->err.text, "SECRET"));
    assert_null(strstr(out->code, "SECRET"));
}

static void put_facts(struct outcome *o, const struct llm_reply *r, const struct llm_out *out)
{
    const struct llm_limits *l = llm_reply_limits(r);
    struct buf *b = &o->told;

    buf_printf(b, "finish: %.*s\n", (int)out->finish_reason.len,
               out->finish_reason.ptr ? out->finish_reason.ptr : "");
    buf_printf(b, "usage: input %lld (cached %lld), output %lld%s\n",
               (long long)out->usage.input_tokens, (long long)out->cached_input_tokens,
               (long long)out->usage.output_tokens, out->is_usage_final ? ", final" : "");
    if (o->verdict == LLM_FAILED) put_failure(b, out);
    put_limit(b, "requests", &l->requests);
    put_limit(b, "tokens", &l->tokens);
    put_limit(b, "input", &l->input);
    put_limit(b, "output", &l->output);
}

static void take(struct outcome *o, const struct llm_reply *r, enum llm_verdict v,
                 const struct llm_out *out)
{
    if (out->text.len && !o->has_text) o->early_input = out->usage.input_tokens;
    if (out->text.len) o->has_text = true;
    assert_true(buf_put_view(&o->text, out->text));
    if (v == LLM_MORE) return;
    o->verdict = v;
    put_facts(o, r, out);
}

/* In pieces of step bytes, the first one of first bytes. */
static void play(const struct recording *rec, size_t first, size_t step, struct outcome *o)
{
    struct llm_reply *r = llm_reply_new(rec->provider, rec->stream);
    struct llm_out out;
    int64_t wall_ms;
    size_t n = first;

    memset(o, 0, sizeof *o);
    buf_init(&o->text, 1 << 20);
    buf_init(&o->told, 1 << 16);
    o->early_input = -1;
    assert_non_null(r);
    assert_true(clock_parse(VIEW_LIT(WALL), &wall_ms));
    llm_reply_head(r, rec->status, rec->headers, rec->header_count, wall_ms);
    for (size_t at = 0; at < rec->body.len && o->verdict == LLM_MORE; at += n, n = step) {
        size_t left = rec->body.len - at;

        if (at) n = step;
        if (n > left) n = left;
        take(o, r, llm_reply_feed(r, view_make(rec->body.ptr + at, n), &out), &out);
    }
    if (o->verdict == LLM_MORE)
        take(o, r, llm_reply_end(r, rec->end.code == ERR_OK ? NULL : &rec->end, &out), &out);
    assert_int_not_equal(o->verdict, LLM_MORE);
    llm_reply_free(r);
}

static void fini(struct outcome *o)
{
    buf_fini(&o->text);
    buf_fini(&o->told);
}

static void check_same(const char *folder, const struct recording *rec, const struct outcome *want,
                       size_t first, size_t step)
{
    struct outcome got;

    play(rec, first, step, &got);
    if (got.verdict != want->verdict || !view_eq(buf_view(&got.text), buf_view(&want->text)) ||
        !view_eq(buf_view(&got.told), buf_view(&want->told)))
        fail_msg("%s: cut at %zu, then every %zu:\n%.*s\nbut whole:\n%.*s", folder, first, step,
                 (int)got.told.len, got.told.data, (int)want->told.len, want->told.data);
    fini(&got);
}

static void check_reply(const char *folder, const char *dialect)
{
    struct recording rec;
    struct outcome whole, bytes;
    struct buf got;
    struct jw j;

    load(&rec, folder, dialect);
    play(&rec, rec.body.len ? rec.body.len : 1, 1, &whole);
    play(&rec, 1, 1, &bytes); /* byte by byte tells what was known when */
    buf_init(&got, 1 << 20);
    buf_printf(&got, "%s\ntext: ", whole.verdict == LLM_DONE ? "done" : "failed");
    jw_init(&j, &got);
    jw_str(&j, buf_view(&whole.text));
    buf_printf(&got, "\ninput known at the first text: %lld\n%.*s", (long long)bytes.early_input,
               (int)whole.told.len, whole.told.data);
    GOLDEN_PATH(path, "%s/expect.txt", folder);
    golden_check(path, buf_view(&got));
    fini(&bytes);
    for (size_t step = 1; step <= STEP_MAX && step <= rec.body.len; step++)
        check_same(folder, &rec, &whole, step, step);
    for (size_t first = 1; first < rec.body.len; first++)
        check_same(folder, &rec, &whole, first, rec.body.len);
    fini(&whole);
    buf_fini(&got);
    buf_fini(&rec.file);
}

static void check_replies_of(const char *folder)
{
    char names[512];
    const char *dialect = strrchr(folder, '/') + 1;
    DIR *d = opendir(folder);

    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.') continue;
        snprintf(names, sizeof names, "%s/%s", folder, e->d_name);
        check_reply(names, dialect);
    }
    closedir(d);
}

static void replies_at_every_split(void **state)
{
    (void)state;
    golden_each("tests/golden/llm/replies", NULL, check_replies_of);
}

/* --- requests --------------------------------------------------------------------------------- */

static void put_wire(struct buf *b, const struct llm_wire *w)
{
    buf_printf(b, "POST %.*s\n", (int)w->url.len, w->url.data);
    for (size_t i = 0; i < w->header_count; i++)
        buf_printf(b, "%s: %.*s\n", w->headers[i].name, (int)w->headers[i].len,
                   w->header_bytes.data + w->headers[i].at);
    buf_printf(b, "%s: %sKEY\n\n%.*s\n", w->key_header, w->key_prefix ? w->key_prefix : "",
               (int)w->body.len, w->body.data);
}

static void check_body(const struct llm_wire *w)
{
    static const struct json_limits limits = {
        .bytes_max = 1 << 20, .depth_max = 64, .nodes_max = 10000};
    struct err err;

    if (json_check(buf_view(&w->body), &limits, &err) != ERR_OK)
        fail_msg("the body is no JSON: %s", err.text);
}

static void check_request(const char *folder)
{
    struct buf compact;
    struct json_t *tree;
    static const struct json_limits limits = {
        .bytes_max = 1 << 20, .depth_max = 64, .nodes_max = 10000};
    struct err err;
    struct buf file;
    GOLDEN_PATH(from, "%s/request.json", folder);

    assert_true(golden_read(from, &file));
    assert_int_equal(json_load(buf_view(&file), &limits, &tree, &err), ERR_OK);
    buf_init(&compact, 1 << 20);
    assert_true(json_put(&compact, tree)); /* as the task writes it */
    json_decref(tree);
    for (const struct dialect *d = dialect_of(NULL); d->name; d++) {
        struct llm_request q = {.provider = &d->provider,
                                .model = VIEW_LIT("model-1"),
                                .request = buf_view(&compact),
                                .stream = true,
                                .identity = VIEW_LIT("job/step/-/1")};
        struct llm_wire w;
        struct buf got;

        buf_init(&got, 1 << 20);
        if (llm_wire_init(&w, &q, &err) == ERR_OK) {
            put_wire(&got, &w);
            check_body(&w);
        } else {
            assert_int_equal(err.code, ERR_INVALID);
            buf_printf(&got, "refused: %s\nwhere: %s\n", err.text, err.where);
        }
        GOLDEN_PATH(to, "%s/%s.txt", folder, d->name);
        golden_check(to, buf_view(&got));
        llm_wire_fini(&w);
        buf_fini(&got);
    }
    buf_fini(&compact);
    buf_fini(&file);
}

static void requests_in_every_dialect(void **state)
{
    (void)state;
    golden_each("tests/golden/llm/requests", NULL, check_request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(replies_at_every_split),
                                       cmocka_unit_test(requests_in_every_dialect)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
