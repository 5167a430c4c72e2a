/* Workflows: golden folders for what is read and what is refused (and how it says so), the shipped
 * examples, the set of versions, folders, and ceilings. */
#include "common/base/json.h"
#include "schemas/workflow_priv.h"
#include "tests/unit/golden.h"
#include <sys/stat.h>
#include <unistd.h>

static enum err_code parse(const char *yaml, struct workflow **ret, struct err *err)
{
    return workflow_parse(view_of(yaml), "w.yaml", ret, err);
}

static struct workflow *parsed(const char *yaml)
{
    struct workflow *w = NULL;
    struct err err;
    if (parse(yaml, &w, &err) != ERR_OK) fail_msg("%s: %s", err.where, err.text);
    return w;
}

static void expect_error(const char *yaml, const char *where, const char *part)
{
    struct workflow *w = NULL;
    struct err err = {.code = ERR_OK};
    assert_int_equal(parse(yaml, &w, &err), ERR_INVALID);
    assert_null(w);
    assert_string_equal(err.where, where);
    if (!strstr(err.text, part)) fail_msg("no '%s' in '%s'", part, err.text);
}

/* --- golden ----------------------------------------------------------------------------------- */

static void put_value(struct buf *out, const char *name, const json_t *value)
{
    if (!value) return;
    buf_printf(out, " %s=", name);
    json_put(out, value);
}

static void put_step(struct buf *out, const struct workflow *w, const struct workflow_step *s)
{
    static const char *const kinds[] = {"llm", "transform"}, *const errors[] = {"fail", "continue",
                                                                                "fallback"};
    buf_printf(out, "%s: %s needs=[", s->id, kinds[s->kind]);
    for (size_t i = 0; i < s->need_count; i++)
        buf_printf(out, "%s%s", i ? " " : "", w->steps[s->needs[i]].id);
    buf_printf(out, "] timeout=%lld retry=%lld/%s/%lld/%lld on_error=%s", (long long)s->timeout_ms,
               (long long)s->retry.max_attempts, s->retry.exponential ? "exponential" : "constant",
               (long long)s->retry.initial_ms, (long long)s->retry.max_ms, errors[s->on_error]);
    if (s->when) buf_printf(out, " when='%s'", s->when);
    if (s->foreach)
        buf_printf(out, " foreach='%s' as=%s concurrency=%lld", s->foreach, s->as,
                   (long long)s->concurrency);
    put_value(out, "fallback", s->fallback);
    if (s->kind == STEP_LLM)
        buf_printf(out, " model=%s stream=%d max_tokens=%lld schema=%d", s->model, s->stream,
                   (long long)s->max_tokens, s->response_schema != NULL);
    put_value(out, "spec", s->spec);
    buf_put_char(out, '\n');
}

static void put_workflow(struct buf *out, const struct workflow *w)
{
    buf_printf(out, "%s@%lld pin='%s' input=%d", w->name, (long long)w->version, w->pin,
               w->input != NULL);
    put_value(out, "output", w->output);
    buf_put_char(out, '\n');
    for (size_t i = 0; i < w->step_count; i++) put_step(out, w, &w->steps[i]);
}

static void valid_case(const char *dir)
{
    GOLDEN_PATH(file, "%s/workflow.yaml", dir);
    GOLDEN_PATH(want, "%s/summary.txt", dir);
    struct buf yaml, out;
    struct workflow *w = NULL;
    struct err err;
    assert_true(golden_read(file, &yaml));
    if (workflow_parse(buf_view(&yaml), "workflow.yaml", &w, &err) != ERR_OK)
        fail_msg("%s: %s: %s", dir, err.where, err.text);
    buf_init(&out, 1 << 20);
    put_workflow(&out, w);
    golden_check(want, buf_view(&out));
    workflow_free(w);
    buf_fini(&out);
    buf_fini(&yaml);
}

static void invalid_case(const char *dir)
{
    GOLDEN_PATH(file, "%s/workflow.yaml", dir);
    GOLDEN_PATH(want, "%s/error.txt", dir);
    struct buf yaml, out;
    struct workflow *w = NULL;
    struct err err;
    assert_true(golden_read(file, &yaml));
    if (workflow_parse(buf_view(&yaml), "workflow.yaml", &w, &err) != ERR_INVALID)
        fail_msg("%s was accepted", dir);
    assert_int_equal(workflow_parse(buf_view(&yaml), "workflow.yaml", &w, NULL), ERR_INVALID);
    assert_null(w);
    buf_init(&out, 4096);
    buf_printf(&out, "%s: %s\n", err.where, err.text);
    golden_check(want, buf_view(&out));
    buf_fini(&out);
    buf_fini(&yaml);
}

static void golden_valid(void **state)
{
    (void)state;
    golden_each("tests/golden/workflow/valid", NULL, valid_case);
}

static void golden_invalid(void **state)
{
    (void)state;
    golden_each("tests/golden/workflow/invalid", NULL, invalid_case);
}

/* --- what ships ------------------------------------------------------------------------------- */

static void shipped_examples_are_good(void **state)
{
    (void)state;
    static const char *const names[] = {"hello", "noop", "pipeline", "summarize"};
    struct workflows *ws = NULL;
    struct buf errors;
    struct err err;
    buf_init(&errors, 1 << 16);
    if (workflows_load_dir("schemas/workflows", &ws, &errors, &err) != ERR_OK)
        fail_msg("%.*s", (int)errors.len, errors.data);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct workflow *w = workflows_find(ws, view_of(names[i]), 0);
        if (!w) fail_msg("no workflow %s", names[i]);
        for (size_t k = 0; k < w->step_count; k++) {
            const char *model = w->steps[k].model;
            assert_true(w->steps[k].kind != STEP_LLM || strcmp(model, "fast") == 0 ||
                        strcmp(model, "smart") == 0);
        }
    }
    const struct workflow *hello = workflows_find(ws, VIEW_LIT("hello"), 1);
    json_t *ada = json_pack("{s:s}", "name", "Ada"), *nobody = json_object();
    assert_true(hello->steps[0].stream);
    assert_int_equal(jsonschema_check(hello->input, ada, "/input", &err), ERR_OK);
    assert_int_equal(jsonschema_check(hello->input, nobody, "/input", &err), ERR_INVALID);
    json_decref(ada);
    json_decref(nobody);
    workflows_free(ws);
    buf_fini(&errors);
}

/* --- order ------------------------------------------------------------------------------------ */

static void needs_stand_before(void **state)
{
    (void)state;
    struct buf yaml;
    buf_init(&yaml, 1 << 20);
    buf_put_str(&yaml, "name: chain\nversion: 1\nsteps:\n");
    for (int i = 0; i < 256; i++) {
        buf_printf(&yaml, "  - {id: s%d, transform: ", i);
        if (i < 255)
            buf_printf(&yaml, "\"${ .steps.s%d.output }\"}\n", i + 1);
        else
            buf_put_str(&yaml, "1}\n");
    }
    buf_put_char(&yaml, '\0');
    struct workflow *w = parsed(yaml.data);
    assert_int_equal(w->step_count, 256);
    assert_string_equal(w->steps[0].id, "s255");
    for (size_t i = 0; i < w->step_count; i++)
        for (size_t k = 0; k < w->steps[i].need_count; k++) assert_true(w->steps[i].needs[k] < i);
    assert_int_equal(workflow_step_find(w, VIEW_LIT("s254")), 1);
    assert_int_equal(workflow_step_find(w, VIEW_LIT("s256")), -1);
    workflow_free(w);
    buf_fini(&yaml);
}

/* Without `output` the last step of the file speaks for the job, wherever it runs. */
static void last_step_is_the_output(void **state)
{
    (void)state;
    struct workflow *w =
        parsed("name: a\nversion: 1\nsteps:\n  - {id: x, transform: \"${ .steps.y.output }\"}\n"
               "  - {id: y, transform: 1}\n");
    assert_string_equal(w->steps[1].id, "x");
    assert_string_equal(json_string_value(w->output), "${ .steps.y.output }");
    workflow_free(w);
    w = parsed(
        "name: a\nversion: 1\nsteps:\n  - {id: x, transform: 1}\n  - {id: y, transform: 1}\n");
    assert_null(w->output);
    assert_string_equal(w->steps[1].id, "y");
    workflow_free(w);
}

/* --- ceilings --------------------------------------------------------------------------------- */

static void ceilings_are_told(void **state)
{
    (void)state;
    struct buf yaml;
    buf_init(&yaml, 1 << 20);
    buf_put_str(&yaml, "name: a\nversion: 1\nsteps:\n");
    for (int i = 0; i < 257; i++) buf_printf(&yaml, "  - {id: s%d, transform: 1}\n", i);
    buf_put_char(&yaml, '\0');
    expect_error(yaml.data, "w.yaml:3", "1 to 256 steps");
    buf_reset(&yaml);
    buf_put_str(&yaml, "name: a\nversion: 1\nsteps:\n  - id: a\n    transform:\n");
    for (int i = 0; i < 33; i++) buf_printf(&yaml, "      - \"${ .input | %d }\"\n", i);
    buf_put_char(&yaml, '\0');
    expect_error(yaml.data, "w.yaml:5", "more than 32 different jq expressions");
    buf_reset(&yaml);
    buf_put_str(&yaml, "name: a\nversion: 1\nsteps: [{id: a, transform: \"");
    for (int i = 0; i < 200; i++) buf_put_str(&yaml, "${.input}x");
    buf_put_str(&yaml, "\"}]\n");
    buf_put_char(&yaml, '\0');
    expect_error(yaml.data, "w.yaml:3", "more than 128 parts");
    buf_fini(&yaml);
}

static void long_cycle_is_cut(void **state)
{
    (void)state;
    struct buf yaml;
    buf_init(&yaml, 1 << 20);
    buf_put_str(&yaml, "name: a\nversion: 1\nsteps:\n");
    for (int i = 0; i < 100; i++)
        buf_printf(
            &yaml,
            "  - {id: a_rather_long_name_%d, needs: [a_rather_long_name_%d], transform: 1}\n", i,
            (i + 1) % 100);
    buf_put_char(&yaml, '\0');
    expect_error(yaml.data, "w.yaml:4", "circle: a_rather_long_name_0 -> a_rather_long_name_1 -> ");
    buf_fini(&yaml);
}

/* --- the set ---------------------------------------------------------------------------------- */

static void add(struct workflows *ws, const char *name, int version, enum err_code want)
{
    char yaml[200];
    struct err err;
    snprintf(yaml, sizeof yaml, "name: %s\nversion: %d\nsteps: [{id: a, transform: 1}]\n", name,
             version);
    assert_int_equal(workflows_add(ws, parsed(yaml), &err), want);
}

static void versions_are_found(void **state)
{
    (void)state;
    struct workflows *ws = workflows_new();
    size_t cursor = 0, seen = 0;
    assert_non_null(ws);
    add(ws, "a", 2, ERR_OK);
    add(ws, "a", 10, ERR_OK);
    add(ws, "a", 3, ERR_OK);
    add(ws, "b", 1, ERR_OK);
    add(ws, "a", 3, ERR_CONFLICT);
    assert_int_equal(workflows_count(ws), 4);
    assert_int_equal(workflows_find(ws, VIEW_LIT("a"), 0)->version, 10);
    assert_int_equal(workflows_find(ws, VIEW_LIT("a"), 3)->version, 3);
    assert_null(workflows_find(ws, VIEW_LIT("a"), 4));
    assert_null(workflows_find(ws, VIEW_LIT("a"), -1));
    assert_null(workflows_find(ws, VIEW_LIT("c"), 0));
    assert_null(workflows_find(ws, VIEW_LIT("a@3"), 0));
    assert_null(workflows_find(ws, VIEW_LIT(""), 0));
    while (workflows_each(ws, &cursor)) seen++;
    assert_int_equal(seen, 4);
    workflows_free(ws);
}

/* --- folders ---------------------------------------------------------------------------------- */

static void put_file(const char *dir, const char *name, const char *text)
{
    GOLDEN_PATH(path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void folders_are_read(void **state)
{
    (void)state;
    char dir[] = "build/test_workflow.XXXXXX";
    static const char *const names[] = {"a.yaml", "b.yml", "c.txt", ".d.yaml", "e.yaml", "f.yaml"};
    struct workflows *ws = NULL;
    struct buf errors;
    struct err err;
    assert_non_null(mkdtemp(dir));
    buf_init(&errors, 1 << 16);
    assert_int_equal(workflows_load_dir(dir, &ws, &errors, &err), ERR_OK);
    assert_int_equal(workflows_count(ws), 0);
    workflows_free(ws);
    put_file(dir, names[0], "name: a\nversion: 1\nsteps: [{id: a, transform: 1}]\n");
    put_file(dir, names[1], "name: a\nversion: 2\nsteps: [{id: a, transform: 1}]\n");
    put_file(dir, names[2], "not a workflow");
    put_file(dir, names[3], "not a workflow");
    assert_int_equal(workflows_load_dir(dir, &ws, &errors, &err), ERR_OK);
    assert_int_equal(workflows_count(ws), 2);
    assert_int_equal(errors.len, 0);
    workflows_free(ws);
    ws = NULL;
    put_file(dir, names[4], "name: a\nversion: 2\nsteps: [{id: a, transform: 1}]\n");
    put_file(dir, names[5], "name: f\nversion: 1\nsteps: [{id: a, sleep: 1s}]\n");
    assert_int_equal(workflows_load_dir(dir, &ws, &errors, &err), ERR_CONFLICT);
    assert_int_equal(workflows_load_dir(dir, &ws, NULL, NULL), ERR_CONFLICT);
    assert_null(ws);
    buf_put_char(&errors, '\0');
    assert_non_null(strstr(errors.data, "e.yaml: workflow a version 2 stands in b.yml too"));
    assert_non_null(
        strstr(errors.data,
               "f.yaml:3: steps[0].sleep: step 'a': kind 'sleep' is not available in this build"));
    assert_int_equal(workflows_load_dir("build/no-such-folder", &ws, NULL, &err), ERR_NOT_FOUND);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        GOLDEN_PATH(path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
    buf_fini(&errors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_valid),
        cmocka_unit_test(golden_invalid),
        cmocka_unit_test(shipped_examples_are_good),
        cmocka_unit_test(needs_stand_before),
        cmocka_unit_test(last_step_is_the_output),
        cmocka_unit_test(ceilings_are_told),
        cmocka_unit_test(long_cycle_is_cut),
        cmocka_unit_test(versions_are_found),
        cmocka_unit_test(folders_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
