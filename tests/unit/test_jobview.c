/* The job's view: each rule of the fold by itself, then properties over random histories: what is written and read again is
 * the same bytes and folds on alike, malformed data changes nothing, the ceiling holds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "common/base/rng.h"
#include "schemas/jobview.h"

#define NOW 1795554000000 /* 2026-11-24T21:00:00Z */

static struct jobview *fresh(void)
{
    struct jobview_seed seed = {.workflow = "hello", .version = 3, .cls = CLASS_BULK, .created_ms = NOW,
                                .metadata = VIEW_LIT(" {\"n\": 0.10} ")};
    assert_true(id_parse(VIEW_LIT("01900000-0000-7003-8000-0000000000a0"), &seed.id));
    struct jobview *v = jobview_new(&seed);
    assert_non_null(v);
    return v;
}

static char *bytes_of(const struct jobview *v, bool with_outputs)
{
    struct buf b;
    buf_init(&b, 64 << 20);
    assert_true(jobview_put(v, &b, with_outputs));
    return buf_detach(&b, NULL);
}

static json_t *tree_of(const struct jobview *v)
{
    static const struct json_limits limits = {.bytes_max = 64 << 20, .depth_max = 64, .nodes_max = 1000000};
    char *text = bytes_of(v, true);
    json_t *t;
    struct err err;
    assert_int_equal(json_load(view_of(text), &limits, &t, &err), ERR_OK);
    free(text);
    return t;
}

/* A member by path: "steps/0/items/done". As compact JSON, "-" when absent. */
static const char *member(const struct jobview *v, const char *path)
{
    static char out[4096];
    json_t *t = tree_of(v), *at = t;
    struct view rest = view_of(path), name;
    do {
        if (!view_cut(rest, '/', &name, &rest)) name = rest, rest = VIEW_NONE;
        char key[64];
        view_copy(name, key, sizeof key);
        at = json_is_array(at) ? json_array_get(at, (size_t)(key[0] - '0')) : json_object_get(at, key);
    } while (rest.ptr);
    struct buf b;
    buf_init(&b, sizeof out - 1);
    if (at) json_put(&b, at);
    view_copy(at ? buf_view(&b) : VIEW_LIT("-"), out, sizeof out);
    buf_fini(&b);
    json_decref(t);
    return out;
}

static enum err_code fold(struct jobview *v, enum event_type type, const char *members)
{
    char data[4096];
    struct err err;
    snprintf(data, sizeof data, "{\"type\":\"%s\",\"ts\":\"2026-11-24T21:00:01.000Z\"%s%s}", event_type_name(type),
             members[0] ? "," : "", members);
    return jobview_fold(v, type, view_of(data), &err);
}

#define FOLD(type, members) assert_int_equal(fold(v, EVENT_##type, members), ERR_OK)
#define IS(path, json) assert_string_equal(member(v, path), json)

static void test_seed(void **state)
{
    (void)state;
    struct jobview *v = fresh();
    char *text = bytes_of(v, true);
    assert_string_equal(text, "{\"id\":\"01900000-0000-7003-8000-0000000000a0\",\"status\":\"queued\",\"workflow\":\"hello\","
                              "\"version\":3,\"class\":\"bulk\",\"attempt\":0,\"created_at\":\"2026-11-24T21:00:00.000Z\","
                              "\"started_at\":null,\"ended_at\":null,\"steps\":[],\"usage\":{\"input_tokens\":0,"
                              "\"output_tokens\":0,\"calls\":0},\"cost\":0.0,\"output\":null,\"error\":null,"
                              "\"metadata\":{\"n\": 0.10}}");
    free(text);
    jobview_free(v);
}

static void test_life(void **state)
{
    (void)state;
    struct jobview *v = fresh();
    FOLD(JOB_QUEUED, "\"seq\":1");
    FOLD(JOB_WAITING, "\"reason\":\"budget\",\"until\":1795554009999");
    IS("status", "\"waiting\"");
    IS("waiting", "{\"reason\":\"budget\",\"until\":1795554009999}");
    FOLD(JOB_RESUMED, "");
    IS("status", "\"queued\""); /* it had not started */
    IS("waiting", "-");
    FOLD(JOB_STARTED, "\"attempt\":1,\"worker\":\"w1\"");
    IS("status", "\"running\"");
    IS("started_at", "\"2026-11-24T21:00:01.000Z\"");
    FOLD(JOB_WAITING, "\"reason\":\"budget\",\"on\":\"main/gpt\",\"until\":7");
    IS("waiting", "{\"reason\":\"budget\",\"on\":\"main/gpt\",\"until\":7}");
    FOLD(JOB_WAITING, "\"reason\":\"retry\",\"until\":null");
    IS("waiting", "{\"reason\":\"retry\",\"until\":null}");
    FOLD(JOB_RESUMED, "");
    IS("status", "\"running\"");
    FOLD(JOB_STARTED, "\"attempt\":2");
    IS("attempt", "2");
    FOLD(JOB_SUCCEEDED, "\"output\":{\"a\":0.10},\"usage\":{\"input_tokens\":5,\"output_tokens\":6,\"calls\":7},\"cost\":0.5");
    IS("status", "\"succeeded\"");
    IS("ended_at", "\"2026-11-24T21:00:01.000Z\"");
    IS("usage/calls", "7");
    IS("cost", "0.5");
    FOLD(JOB_FAILED, "\"error\":{\"code\":\"x\"}"); /* after an end nothing counts */
    FOLD(STEP_STARTED, "\"step\":\"late\",\"attempt\":1");
    IS("status", "\"succeeded\"");
    IS("steps", "[]");
    char *text = bytes_of(v, true);
    assert_non_null(strstr(text, "\"output\":{\"a\":0.10},")); /* byte for byte */
    free(text);
    jobview_free(v);
}

static void test_step_and_its_text(void **state)
{
    (void)state;
    struct jobview *v = fresh();
    FOLD(STEP_STARTED, "\"step\":\"sum\",\"attempt\":1");
    FOLD(STEP_DELTA, "\"step\":\"sum\",\"attempt\":1,\"text\":\"a\\u00e9\\n\"");
    FOLD(STEP_DELTA, "\"step\":\"sum\",\"attempt\":1,\"text\":\"b\"");
    IS("steps/0/text", "\"a\xc3\xa9\\nb\"");
    FOLD(STEP_RETRYING, "\"step\":\"sum\",\"attempt\":1,\"error\":{\"code\":\"timeout\"}");
    IS("steps/0/status", "\"retrying\"");
    IS("steps/0/text", "\"a\xc3\xa9\\nb\""); /* void only with a higher attempt */
    FOLD(STEP_DELTA, "\"step\":\"sum\",\"attempt\":2,\"text\":\"c\"");
    IS("steps/0/text", "\"c\"");
    IS("steps/0/status", "\"running\"");
    IS("steps/0/attempt", "2");
    FOLD(STEP_DELTA, "\"step\":\"sum\",\"attempt\":1,\"text\":\"late\"");
    IS("steps/0/text", "\"c\"");
    FOLD(STEP_COMPLETED, "\"step\":\"sum\",\"attempt\":2,\"output\":\"cd\",\"usage\":{\"input_tokens\":3,\"output_tokens\":4}");
    IS("steps/0/output", "\"cd\"");
    IS("steps/0/text", "-");
    IS("steps/0/usage/calls", "1");
    IS("steps/0/ended_at", "\"2026-11-24T21:00:01.000Z\"");
    FOLD(STEP_DELTA, "\"step\":\"sum\",\"attempt\":2,\"text\":\"late\"");
    IS("steps/0/text", "-");
    IS("steps/0/status", "\"completed\"");
    FOLD(STEP_COMPLETED, "\"step\":\"big\",\"attempt\":1,\"output_omitted\":true");
    IS("steps/1/output_omitted", "true");
    FOLD(STEP_FAILED, "\"step\":\"bad\",\"attempt\":3,\"error\":{\"code\":\"timeout\",\"message\":\"m\"}");
    IS("steps/2/error/code", "\"timeout\"");
    FOLD(STEP_SKIPPED, "\"step\":\"no\",\"attempt\":1");
    IS("steps/3/status", "\"skipped\"");
    FOLD(STEP_PROGRESS, "\"step\":\"sum\",\"attempt\":2,\"items\":[1],\"text\":{}"); /* its own business */
    jobview_free(v);
}

static void test_foreach(void **state)
{
    (void)state;
    struct jobview *v = fresh();
    FOLD(STEP_STARTED, "\"step\":\"each\",\"attempt\":1,\"items\":{\"total\":4}");
    IS("steps/0/items", "{\"total\":4,\"done\":0,\"failed\":0}");
    FOLD(STEP_STARTED, "\"step\":\"each\",\"item\":2,\"attempt\":1");
    FOLD(STEP_STARTED, "\"step\":\"each\",\"item\":0,\"attempt\":1");
    FOLD(STEP_DELTA, "\"step\":\"each\",\"item\":2,\"attempt\":1,\"text\":\"two\"");
    FOLD(STEP_DELTA, "\"step\":\"each\",\"item\":0,\"attempt\":1,\"text\":\"nil\"");
    IS("steps/0/items/running", "[{\"item\":0,\"attempt\":1,\"text\":\"nil\"},{\"item\":2,\"attempt\":1,\"text\":\"two\"}]");
    IS("steps/0/text", "-");
    FOLD(STEP_RETRYING, "\"step\":\"each\",\"item\":0,\"attempt\":2");
    IS("steps/0/items/running", "[{\"item\":0,\"attempt\":2},{\"item\":2,\"attempt\":1,\"text\":\"two\"}]");
    IS("steps/0/status", "\"running\"");
    FOLD(STEP_COMPLETED, "\"step\":\"each\",\"item\":2,\"attempt\":1,\"output\":2,\"usage\":{\"input_tokens\":1,\"output_tokens\":2}");
    FOLD(STEP_FAILED, "\"step\":\"each\",\"item\":0,\"attempt\":2,\"error\":{\"code\":\"x\"},\"usage\":{\"input_tokens\":1,\"output_tokens\":0}");
    FOLD(STEP_SKIPPED, "\"step\":\"each\",\"item\":1,\"attempt\":1");
    IS("steps/0/items", "{\"total\":4,\"done\":3,\"failed\":1}");
    IS("steps/0/output", "-"); /* an item's output is not the step's */
    IS("steps/0/usage", "{\"input_tokens\":2,\"output_tokens\":2,\"calls\":2,\"cost\":0.0}");
    FOLD(STEP_STARTED, "\"step\":\"each\",\"item\":3,\"attempt\":1");
    FOLD(STEP_STARTED, "\"step\":\"each\",\"attempt\":1,\"items\":{\"total\":4}"); /* taken over: running ones begin again */
    IS("steps/0/items", "{\"total\":4,\"done\":3,\"failed\":1}");
    FOLD(STEP_COMPLETED, "\"step\":\"each\",\"attempt\":1,\"items\":{\"total\":4,\"done\":4,\"failed\":1}");
    IS("steps/0/items", "{\"total\":4,\"done\":4,\"failed\":1}");
    IS("steps/0/status", "\"completed\"");
    FOLD(STEP_STARTED, "\"step\":\"unseen\",\"item\":9,\"attempt\":1"); /* its start was lost */
    IS("steps/1/items/total", "10");
    jobview_free(v);
}

static void test_usage_is_counted_once(void **state)
{
    (void)state;
    struct jobview *v = fresh();
    jobview_charge(v, 10, 20, 0.25); /* a call that failed */
    jobview_charge(v, 1, 2, 0.5);
    FOLD(STEP_COMPLETED, "\"step\":\"a\",\"attempt\":2,\"output\":1,\"usage\":{\"input_tokens\":1,\"output_tokens\":2,\"cost\":0.5}");
    IS("usage", "{\"input_tokens\":11,\"output_tokens\":22,\"calls\":2}"); /* not 12, 24, 3 */
    IS("cost", "0.75");
    jobview_free(v);
    v = fresh(); /* who only folds */
    FOLD(STEP_COMPLETED, "\"step\":\"a\",\"attempt\":2,\"output\":1,\"usage\":{\"input_tokens\":1,\"output_tokens\":2,\"cost\":0.5}");
    FOLD(STEP_RETRYING, "\"step\":\"b\",\"attempt\":2,\"usage\":{\"input_tokens\":3,\"output_tokens\":4,\"calls\":2}");
    IS("usage", "{\"input_tokens\":4,\"output_tokens\":6,\"calls\":3}");
    IS("cost", "0.5");
    jobview_free(v);
}

static void test_numbers_do_not_run_over(void **state)
{
    (void)state;
    struct jobview *v = fresh();
    for (int i = 0; i < 5; i++) {
        FOLD(STEP_COMPLETED, "\"step\":\"a\",\"item\":9007199254740992,\"attempt\":1,"
                             "\"usage\":{\"input_tokens\":9007199254740992,\"output_tokens\":1,\"calls\":9007199254740990,\"cost\":1e300}");
        jobview_charge(v, 9007199254740990, -1, 0);
    }
    IS("usage", "{\"input_tokens\":9007199254740992,\"output_tokens\":5,\"calls\":9007199254740992}");
    IS("steps/0/items", "{\"total\":9007199254740992,\"done\":5,\"failed\":0}");
    assert_int_equal(fold(v, EVENT_STEP_STARTED, "\"step\":\"a\",\"attempt\":9007199254740993"), ERR_INVALID);
    jobview_free(v);
}

static void test_end_terminal_and_snapshot(void **state)
{
    (void)state;
    struct jobview *v = fresh(), *w = fresh();
    struct buf b;
    buf_init(&b, 65536);
    FOLD(JOB_STARTED, "\"attempt\":1");
    FOLD(STEP_COMPLETED, "\"step\":\"a\",\"attempt\":1,\"output\":\"secret output\"");
    assert_true(jobview_put_snapshot(v, &b, 7, NOW + 5));
    assert_true(view_starts(buf_view(&b), "{\"type\":\"job.snapshot\",\"job_id\":\"01900000-0000-7003-8000-0000000000a0\",\"seq\":7,"
                                          "\"ts\":\"2026-11-24T21:00:00.005Z\",\"job\":{\"id\""));
    assert_int_equal(jobview_fold(w, EVENT_JOB_SNAPSHOT, buf_view(&b), NULL), ERR_OK);
    char *x = bytes_of(v, true), *y = bytes_of(w, true);
    assert_string_equal(x, y);
    free(y);
    y = bytes_of(v, false);
    assert_non_null(strstr(x, "secret output"));
    assert_null(strstr(y, "secret output"));
    free(x);
    free(y);
    assert_true(jobview_end(v, JOB_FAILED, NOW + 9, VIEW_NONE, VIEW_LIT("{\"code\":\"timeout\",\"message\":\"m\",\"step\":\"a\"}")));
    buf_reset(&b);
    assert_true(jobview_put_terminal(v, &b, 8));
    assert_true(view_eq_str(buf_view(&b), "{\"type\":\"job.failed\",\"job_id\":\"01900000-0000-7003-8000-0000000000a0\",\"seq\":8,"
        "\"ts\":\"2026-11-24T21:00:00.009Z\",\"status\":\"failed\",\"output\":null,\"error\":{\"code\":\"timeout\",\"message\":\"m\","
        "\"step\":\"a\"},\"usage\":{\"input_tokens\":0,\"output_tokens\":0,\"calls\":0},\"cost\":0.0}"));
    /* Who follows the events and who reads the finished view see the same. */
    assert_int_equal(jobview_fold(w, EVENT_JOB_FAILED, buf_view(&b), NULL), ERR_OK);
    x = bytes_of(v, true), y = bytes_of(w, true);
    assert_string_equal(x, y);
    free(x);
    free(y);
    jobview_set_retried_as(v, &(struct job_id){"01900000-0000-8003-8000-0000000000a1"});
    IS("retried_as", "\"01900000-0000-8003-8000-0000000000a1\"");
    buf_fini(&b);
    jobview_free(v);
    jobview_free(w);
}

static void test_malformed_data_changes_nothing(void **state)
{
    (void)state;
    static const struct {
        enum event_type type;
        const char *data;
    } bad[] = {
        {EVENT_JOB_STARTED, ""}, {EVENT_JOB_STARTED, "[]"}, {EVENT_JOB_STARTED, "{\"attempt\":\"1\"}"},
        {EVENT_JOB_STARTED, "{\"attempt\":-1}"}, {EVENT_JOB_STARTED, "{\"ts\":5}"}, {EVENT_JOB_STARTED, "{\"ts\":\"now\"}"},
        {EVENT_JOB_WAITING, "{\"reason\":5}"}, {EVENT_JOB_WAITING, "{\"reason\":\"x\",\"until\":\"soon\"}"},
        {EVENT_STEP_STARTED, "{}"}, {EVENT_STEP_STARTED, "{\"step\":1}"}, {EVENT_STEP_STARTED, "{\"step\":\"\"}"},
        {EVENT_STEP_STARTED, "{\"step\":\"0123456789012345678901234567890123456789012345678901234567890123\"}"},
        {EVENT_STEP_STARTED, "{\"step\":\"s\",\"item\":-1}"}, {EVENT_STEP_STARTED, "{\"step\":\"s\",\"items\":4}"},
        {EVENT_STEP_DELTA, "{\"step\":\"s\",\"attempt\":1,\"text\":5}"}, {EVENT_STEP_DELTA, "{\"step\":\"s\",\"text\":\"\\ud800\"}"},
        {EVENT_STEP_COMPLETED, "{\"step\":\"s\",\"usage\":[]}"}, {EVENT_STEP_COMPLETED, "{\"step\":\"s\",\"usage\":{\"input_tokens\":-1}}"},
        {EVENT_STEP_COMPLETED, "{\"step\":\"s\",\"output_omitted\":1}"}, {EVENT_JOB_FAILED, "{\"cost\":\"1\"}"},
        {EVENT_JOB_SUCCEEDED, "{\"cost\":-1}"}, {EVENT_JOB_SNAPSHOT, "{}"}, {EVENT_JOB_SNAPSHOT, "{\"job\":{}}"},
        {EVENT_JOB_SNAPSHOT, "{\"job\":[]}"}, {EVENT_JOB_SUCCEEDED, "{\"output\":{\"a\":1,\"a\":2}}"},
    };
    struct jobview *v = fresh();
    FOLD(STEP_DELTA, "\"step\":\"s\",\"attempt\":1,\"text\":\"x\"");
    char *before = bytes_of(v, true);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err err;
        if (jobview_fold(v, bad[i].type, view_of(bad[i].data), &err) != ERR_INVALID) fail_msg("accepted: %s", bad[i].data);
        char *after = bytes_of(v, true);
        assert_string_equal(before, after);
        free(after);
    }
    free(before);
    FOLD(RESET, "\"anything\":1");
    jobview_free(v);
}

static void test_version_rule(void **state)
{
    (void)state;
    struct jobview *v = fresh(), *got;
    struct err err;
    FOLD(STEP_COMPLETED, "\"step\":\"s\",\"attempt\":1,\"output\":1,\"colour\":[1,{}]");
    char *text = bytes_of(v, true);
    struct buf b;
    buf_init(&b, 65536);
    buf_put(&b, "{\"shade\":{\"x\":[]},", 18);
    buf_put_str(&b, text + 1);
    assert_int_equal(jobview_read(buf_view(&b), &got, &err), ERR_OK); /* of a newer writer */
    char *again = bytes_of(got, true);
    assert_string_equal(text, again);
    free(again);
    free(text);
    jobview_free(got);
    jobview_free(v);
    buf_fini(&b);
    static const char *const bad[] = {
        "{}", "[]", "{\"id\":\"x\"}", "{\"id\":\"01900000-0000-7003-8000-0000000000a0\",\"workflow\":\"a\",\"status\":\"done\"}",
        "{\"id\":\"01900000-0000-7003-8000-0000000000a0\",\"workflow\":\"a\",\"steps\":{}}",
        "{\"id\":\"01900000-0000-7003-8000-0000000000a0\",\"workflow\":\"a\",\"steps\":[{}]}",
        "{\"id\":\"01900000-0000-7003-8000-0000000000a0\",\"workflow\":\"a\",\"steps\":[{\"id\":\"s\"},{\"id\":\"s\"}]}",
        "{\"id\":\"01900000-0000-7003-8000-0000000000a0\",\"workflow\":\"a\",\"steps\":[{\"id\":\"s\",\"items\":{\"running\":[{\"item\":1},{\"item\":1}]}}]}",
        "{\"id\":\"01900000-0000-7003-8000-0000000000a0\",\"workflow\":\"a\",\"waiting\":{}}",
        "{\"id\":\"01900000-0000-7003-8000-0000000000a0\",\"workflow\":\"a\",\"waiting\":{\"reason\":\"r\",\"on\":1}}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(jobview_read(view_of(bad[i]), &got, &err), ERR_INVALID);
}

static void test_ceiling(void **state)
{
    (void)state;
    struct jobview *v = fresh();
    struct err err;
    char *data = malloc((1 << 20) + 256);
    for (int i = 0; i < 6; i++) {
        int n = snprintf(data, 256, "{\"step\":\"s%d\",\"attempt\":1,\"output\":\"", i);
        memset(data + n, 'x', 1000000);
        snprintf(data + n + 1000000, 16, "\"}");
        assert_int_equal(jobview_fold(v, EVENT_STEP_COMPLETED, view_of(data), &err), ERR_OK);
    }
    IS("steps/4/output_omitted", "true"); /* four of a million bytes fit into 4 MB */
    IS("steps/5/output_omitted", "true");
    IS("steps/3/output_omitted", "-");
    for (int i = 0; i < 2; i++) {
        int n = snprintf(data, 256, "{\"step\":\"t\",\"attempt\":1,\"text\":\"");
        memset(data + n, 'y', 100000);
        snprintf(data + n + 100000, 16, "\"}");
        assert_int_equal(jobview_fold(v, EVENT_STEP_DELTA, view_of(data), &err), ERR_OK);
    }
    IS("steps/6/text_omitted", "true"); /* a text with a hole would be a lie: all of it goes */
    IS("steps/6/text", "-");
    FOLD(STEP_DELTA, "\"step\":\"t\",\"attempt\":2,\"text\":\"short\"");
    IS("steps/6/text", "\"short\"");
    struct jobview *got;
    char *text = bytes_of(v, true);
    assert_int_equal(jobview_read(view_of(text), &got, &err), ERR_OK);
    char *again = bytes_of(got, true);
    assert_string_equal(text, again);
    free(text);
    free(again);
    jobview_free(got);
    free(data);
    jobview_free(v);
}

static void test_many_steps_and_items(void **state)
{
    (void)state;
    struct jobview *v = fresh();
    char members[128];
    for (int i = 0; i < JOBVIEW_STEPS_MAX; i++) {
        snprintf(members, sizeof members, "\"step\":\"s%d\",\"attempt\":1", i);
        FOLD(STEP_STARTED, members);
    }
    assert_int_equal(fold(v, EVENT_STEP_STARTED, "\"step\":\"more\",\"attempt\":1"), ERR_INVALID);
    for (int i = 0; i < JOBVIEW_RUNNING_MAX + 50; i++) {
        snprintf(members, sizeof members, "\"step\":\"s0\",\"item\":%d,\"attempt\":1", i);
        FOLD(STEP_STARTED, members);
    }
    IS("steps/0/items/total", "1074");
    for (int i = 0; i < JOBVIEW_RUNNING_MAX + 50; i++) {
        snprintf(members, sizeof members, "\"step\":\"s0\",\"item\":%d,\"attempt\":1,\"output\":1", i);
        FOLD(STEP_COMPLETED, members);
    }
    IS("steps/0/items", "{\"total\":1074,\"done\":1074,\"failed\":0}");
    jobview_free(v);
}

/* --- random histories ----------------------------------------------------------------------------- */

static void random_event(struct rng *rng, enum event_type *type, char members[512])
{
    static const enum event_type types[] = {
        EVENT_JOB_STARTED, EVENT_JOB_WAITING, EVENT_JOB_RESUMED, EVENT_STEP_STARTED, EVENT_STEP_STARTED,
        EVENT_STEP_PROGRESS, EVENT_STEP_DELTA, EVENT_STEP_DELTA, EVENT_STEP_DELTA, EVENT_STEP_RETRYING,
        EVENT_STEP_COMPLETED, EVENT_STEP_FAILED, EVENT_STEP_SKIPPED, EVENT_RESET, EVENT_JOB_SUCCEEDED, EVENT_JOB_FAILED};
    size_t n = 0;
    *type = types[rng_below(rng, rng_below(rng, 20) ? 14 : 16)];
    n += (size_t)snprintf(members + n, 512 - n, "\"attempt\":%d", (int)rng_below(rng, 4));
    n += (size_t)snprintf(members + n, 512 - n, ",\"step\":\"s%d\"", (int)rng_below(rng, 3));
    if (rng_below(rng, 2)) n += (size_t)snprintf(members + n, 512 - n, ",\"item\":%d", (int)rng_below(rng, 4));
    if (rng_below(rng, 2)) n += (size_t)snprintf(members + n, 512 - n, ",\"text\":\"\\u00e9\\\"%d\"", (int)rng_below(rng, 99));
    if (rng_below(rng, 3) == 0) n += (size_t)snprintf(members + n, 512 - n, ",\"output\":{ \"v\" :0.%d0}", (int)rng_below(rng, 9));
    if (rng_below(rng, 6) == 0) n += (size_t)snprintf(members + n, 512 - n, ",\"output_omitted\":true");
    if (rng_below(rng, 4) == 0) n += (size_t)snprintf(members + n, 512 - n, ",\"error\":{\"code\":\"c\"}");
    if (rng_below(rng, 3) == 0)
        n += (size_t)snprintf(members + n, 512 - n, ",\"usage\":{\"input_tokens\":%d,\"output_tokens\":1,\"cost\":0.%d}",
                              (int)rng_below(rng, 50), (int)rng_below(rng, 1000));
    if (rng_below(rng, 4) == 0) n += (size_t)snprintf(members + n, 512 - n, ",\"items\":{\"total\":%d,\"done\":1}", (int)rng_below(rng, 9));
    if (rng_below(rng, 4) == 0) n += (size_t)snprintf(members + n, 512 - n, ",\"cost\":0.%d", (int)rng_below(rng, 1000));
    snprintf(members + n, 512 - n, ",\"reason\":\"r%d\",\"until\":%d", (int)rng_below(rng, 9), (int)rng_below(rng, 9));
}

static void test_snapshot_anywhere_is_the_same_history(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 5);
    for (int round = 0; round < 1500; round++) {
        struct jobview *whole = fresh(), *cut = fresh();
        size_t n = 1 + rng_below(&rng, 25), at = rng_below(&rng, n + 1);
        for (size_t i = 0; i < n; i++) {
            enum event_type type;
            char members[512];
            random_event(&rng, &type, members);
            assert_int_equal(fold(whole, type, members), ERR_OK);
            assert_int_equal(fold(cut, type, members), ERR_OK);
            if (i != at) continue;
            struct jobview *read;
            struct err err;
            char *text = bytes_of(cut, true);
            assert_int_equal(jobview_read(view_of(text), &read, &err), ERR_OK);
            char *again = bytes_of(read, true);
            assert_string_equal(text, again);
            free(text);
            free(again);
            jobview_free(cut);
            cut = read;
        }
        char *x = bytes_of(whole, true), *y = bytes_of(cut, true);
        assert_string_equal(x, y);
        free(x);
        free(y);
        jobview_free(whole);
        jobview_free(cut);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seed), cmocka_unit_test(test_life), cmocka_unit_test(test_step_and_its_text),
        cmocka_unit_test(test_foreach), cmocka_unit_test(test_usage_is_counted_once), cmocka_unit_test(test_numbers_do_not_run_over),
        cmocka_unit_test(test_end_terminal_and_snapshot), cmocka_unit_test(test_malformed_data_changes_nothing),
        cmocka_unit_test(test_version_rule), cmocka_unit_test(test_ceiling), cmocka_unit_test(test_many_steps_and_items),
        cmocka_unit_test(test_snapshot_anywhere_is_the_same_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
