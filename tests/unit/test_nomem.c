/* Memory that runs out: every scenario runs again with its n-th allocation failing, for each n,
 * until none fails. It must report ERR_NOMEM or false, leave what it holds usable, and leak
 * nothing (LeakSanitizer judges). The .c files under test are included, so that their allocations
 * are ours; jansson's are taken by its hook. */
#include <jansson.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <yaml.h>

static struct {
    unsigned long until; /* allocations that still succeed */
    bool failed;
    bool spare_jansson; /* its lexer asserts where it cannot save a byte: that part is not ours */
} nomem;

static bool nomem_now(void)
{
    if (nomem.until-- > 0) return false;
    nomem.until = 0; /* and all that follow fail too */
    nomem.failed = true;
    return true;
}

static void *nomem_malloc(size_t size)
{
    return nomem_now() ? NULL : malloc(size);
}

static void *nomem_jansson(size_t size)
{
    return nomem.spare_jansson ? malloc(size) : nomem_malloc(size);
}

static void *nomem_calloc(size_t count, size_t size)
{
    return nomem_now() ? NULL : calloc(count, size);
}

static void *nomem_realloc(void *old, size_t size)
{
    return nomem_now() ? NULL : realloc(old, size);
}

#define malloc  nomem_malloc
#define calloc  nomem_calloc
#define realloc nomem_realloc
#include "common/base/arena.c"
#include "common/base/buf.c"
#include "common/base/json_scan.c"
#include "common/base/json_tree.c"
#include "common/base/log.c"
#include "common/base/map.c"
#include "common/base/metrics.c"
#include "common/base/timerq.c"
#include "common/base/view.c"
#include "common/base/yaml.c"
#undef malloc
#undef calloc
#undef realloc

/* Runs the scenario with 0, 1, 2 ... good allocations; returns how many it needs. */
static unsigned long torture(bool (*scenario)(void))
{
    for (unsigned long n = 0; n < 100000; n++) {
        nomem.until = n;
        nomem.failed = false;
        bool ok = scenario();
        bool failed = nomem.failed;
        nomem.until = ULONG_MAX;
        if (!failed) {
            assert_true(ok);
            return n;
        }
    }
    fail_msg("never ends");
    return 0;
}

static bool scenario_buf(void)
{
    struct buf b;
    buf_init(&b, 10000);
    bool ok = true;
    for (int i = 0; i < 300; i++) ok = buf_printf(&b, "%d,", i) && ok;
    assert_true(ok == !b.failed);
    assert_true(b.len <= b.cap || !b.data);
    char *text = buf_detach(&b, NULL);
    ok = text != NULL;
    free(text);
    buf_fini(&b);
    return ok;
}

static bool scenario_arena(void)
{
    struct arena *a = arena_new(100000);
    bool ok = a != NULL;
    for (size_t i = 0; a && i < 200; i++) {
        char *text = arena_str(a, VIEW_LIT("some text"));
        ok = text && ok;
        if (text) assert_string_equal(text, "some text");
        ok = (i % 50 || arena_alloc(a, 3000)) && ok;
    }
    arena_free(a);
    return ok;
}

static bool scenario_map(void)
{
    struct map *m = map_new(100);
    bool ok = m != NULL;
    size_t in = 0;
    for (char i = 0; m && i < 60; i++) {
        bool put = map_put(m, view_make(&i, 1), m);
        ok = ok && put;
        in += put;
        assert_true((map_get(m, view_make(&i, 1)) != NULL) == put);
    }
    if (m) assert_int_equal(map_count(m), in);
    map_free(m);
    return ok;
}

static void nothing(void *arg)
{
    (void)arg;
}

static bool scenario_timerq(void)
{
    static struct timer timers[200];
    memset(timers, 0, sizeof timers);
    struct timerq *q = timerq_new(200);
    bool ok = q != NULL;
    size_t in = 0;
    for (int i = 0; q && i < 200; i++) {
        bool set = timerq_set(q, &timers[i], 200 - i, nothing, NULL);
        assert_true(timerq_pending(&timers[i]) == set);
        ok = ok && set;
        in += set;
    }
    if (q) assert_int_equal(timerq_run(q, 1000, 1000), in);
    timerq_free(q);
    return ok;
}

static bool scenario_json(void)
{
    static const struct json_limits limits = {100000, 50, 10000};
    static char text[4096];
    if (!text[0]) {
        int at = snprintf(text, sizeof text, "{");
        for (int i = 0; i < 80; i++)
            at += snprintf(text + at, sizeof text - (size_t)at, "\"\\u0061%d\":[1.5,{}],", i);
        snprintf(text + at, sizeof text - (size_t)at, "\"z\":99999999999999999999}");
    }
    json_t *tree = NULL;
    struct err err;
    enum err_code code = json_check(view_of(text), &limits, &err);
    assert_true(code == ERR_OK || (code == ERR_NOMEM && err.code == ERR_NOMEM));
    nomem.spare_jansson = true;
    if (!code) code = json_load(view_of(text), &limits, &tree, &err);
    nomem.spare_jansson = false;
    assert_true(code == ERR_OK || code == ERR_NOMEM);
    if (!code) {
        struct buf out;
        buf_init(&out, 100000);
        if (!json_put(&out, tree)) code = ERR_NOMEM;
        buf_fini(&out);
    }
    json_decref(tree);
    return code == ERR_OK;
}

static bool scenario_yaml(void)
{
    struct yaml_doc *doc = NULL;
    struct err err;
    enum err_code code =
        yaml_parse(VIEW_LIT("a: [1, 0x2, 1.5, ~, true, \"x\"]\nb: {c: {d: e}, f: g}\nh: |\n  i\n"),
                   "f", &doc, &err);
    assert_true(code == ERR_OK || code == ERR_NOMEM);
    assert_true((doc != NULL) == (code == ERR_OK));
    yaml_doc_free(doc);
    return code == ERR_OK;
}

static void swallow(void *arg, struct view line)
{
    (void)arg;
    assert_true(line.len > 2);
}

static bool scenario_log_and_metrics(void)
{
    static const struct clock clock = {1, 2};
    static const double bounds[] = {1, 2};
    static const struct metric_spec spec = {"x", "x", METRIC_HISTOGRAM, {"a", "b"}, bounds, 2, 10};
    struct log *l = log_new("p", LOG_INFO, &clock, swallow, NULL);
    struct metrics *m = metrics_new();
    struct metric *f = metrics_family(m, &spec);
    struct metric_series *s = metric_series(f, (const char *const[]){"1", "2"});
    log_event(l, LOG_ERROR, VIEW_NONE, "event", LOG_N("n", 1));
    metric_observe(s, 1.5);
    assert_true((s != NULL) == (f != NULL));
    bool ok = l && f && !view_eq_str(view_of(s->labels[0]), "other");
    log_free(l);
    metrics_free(m);
    return ok;
}

static void test_torture(void **state)
{
    (void)state;
    assert_in_range(torture(scenario_buf), 5, 20);
    assert_in_range(torture(scenario_arena), 3, 300);
    assert_in_range(torture(scenario_map), 60, 80);
    assert_in_range(torture(scenario_timerq), 3, 10);
    assert_in_range(torture(scenario_json), 10, 2000);
    assert_in_range(torture(scenario_yaml), 20, 200);
    assert_in_range(torture(scenario_log_and_metrics), 8, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_torture)};
    json_set_alloc_funcs(nomem_jansson, free);
    json_object_seed(1);
    nomem.until = ULONG_MAX;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
