/* Metrics: the text as Prometheus reads it, and label sets that stay bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "common/base/metrics.h"

static void check_text(const struct metrics *m, const char *want)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_true(metrics_put(m, &b));
    assert_true(buf_put_char(&b, '\0'));
    assert_string_equal(b.data, want);
    buf_fini(&b);
}

static const struct metric_spec jobs = {.name = "sluice_jobs_total",
                                        .help = "Jobs that ended.\nBy \\status.",
                                        .kind = METRIC_COUNTER,
                                        .labels = {"status", "class"}};
static const struct metric_spec up = {
    .name = "sluice_up", .help = "1 while up", .kind = METRIC_GAUGE};
static const double bounds[] = {0.005, 0.1, 1, 2.5};
static const struct metric_spec seconds = {.name = "sluice_step_seconds",
                                           .help = "Time of a step",
                                           .kind = METRIC_HISTOGRAM,
                                           .labels = {"kind"},
                                           .buckets = bounds,
                                           .bucket_count = 4};

static void test_text(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    struct metric *f = metrics_family(m, &jobs);
    struct metric_series *gauge = metric_series(metrics_family(m, &up), NULL);
    check_text(m, "# HELP sluice_jobs_total Jobs that ended.\\nBy \\\\status.\n"
                  "# TYPE sluice_jobs_total counter\n"
                  "# HELP sluice_up 1 while up\n# TYPE sluice_up gauge\nsluice_up 0\n");
    struct metric_series *a = metric_series(f, (const char *const[]){"succeeded", "bulk"});
    struct metric_series *b = metric_series(f, (const char *const[]){"a\"b\\c\nd\xff", ""});
    assert_ptr_equal(a, metric_series(f, (const char *const[]){"succeeded", "bulk"}));
    assert_ptr_not_equal(a, metric_series(f, (const char *const[]){"succeeded", "interactive"}));
    metric_add(a, 1);
    metric_add(a, 2.5);
    metric_add(b, 9007199254740991.0);
    metric_set(gauge, -0.1);
    assert_true(metric_value(a) == 3.5);
    check_text(m, "# HELP sluice_jobs_total Jobs that ended.\\nBy \\\\status.\n"
                  "# TYPE sluice_jobs_total counter\n"
                  "sluice_jobs_total{status=\"succeeded\",class=\"bulk\"} 3.5\n"
                  "sluice_jobs_total{status=\"a\\\"b\\\\c\\nd?\",class=\"\"} 9007199254740991\n"
                  "sluice_jobs_total{status=\"succeeded\",class=\"interactive\"} 0\n"
                  "# HELP sluice_up 1 while up\n# TYPE sluice_up gauge\nsluice_up -0.1\n");
    metric_set(gauge, (double)INFINITY);
    metric_add(gauge, -1);
    assert_true(isinf(metric_value(gauge)));
    metrics_free(m);
}

static void test_histogram(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    struct metric_series *s =
        metric_series(metrics_family(m, &seconds), (const char *const[]){"llm"});
    metric_observe(s, 0.1); /* on the bound: inside */
    metric_observe(s, 0.001);
    metric_observe(s, 0.5);
    metric_observe(s, 2.5);
    metric_observe(s, 100);
    metric_observe(s, (double)NAN); /* not counted: it would spoil the sum */
    check_text(m,
               "# HELP sluice_step_seconds Time of a step\n# TYPE sluice_step_seconds histogram\n"
               "sluice_step_seconds_bucket{kind=\"llm\",le=\"0.005\"} 1\n"
               "sluice_step_seconds_bucket{kind=\"llm\",le=\"0.1\"} 2\n"
               "sluice_step_seconds_bucket{kind=\"llm\",le=\"1\"} 3\n"
               "sluice_step_seconds_bucket{kind=\"llm\",le=\"2.5\"} 4\n"
               "sluice_step_seconds_bucket{kind=\"llm\",le=\"+Inf\"} 5\n"
               "sluice_step_seconds_sum{kind=\"llm\"} 103.101\n"
               "sluice_step_seconds_count{kind=\"llm\"} 5\n");
    metrics_free(m);
}

static void test_series_ceiling(void **state)
{
    (void)state;
    static const struct metric_spec few = {
        .name = "x_total", .help = "x", .kind = METRIC_COUNTER, .labels = {"l"}, .series_max = 2};
    struct metrics *m = metrics_new();
    struct metric *f = metrics_family(m, &few);
    char value[16];
    for (int i = 0; i < 100; i++) {
        snprintf(value, sizeof value, "v%d", i);
        metric_add(metric_series(f, (const char *const[]){value}), 1);
    }
    check_text(m, "# HELP x_total x\n# TYPE x_total counter\n"
                  "x_total{l=\"v0\"} 1\nx_total{l=\"v1\"} 1\nx_total{l=\"other\"} 98\n");
    assert_ptr_equal(metric_series(f, (const char *const[]){"other"}),
                     metric_series(f, (const char *const[]){"w"}));
    metrics_free(m);
    metrics_free(NULL);
}

static void test_long_values_are_one_series(void **state)
{
    (void)state;
    char value[500];
    struct metrics *m = metrics_new();
    struct metric *f = metrics_family(m, &seconds);
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    struct metric_series *s = metric_series(f, (const char *const[]){value});
    value[300] = 'y'; /* beyond what is kept */
    assert_ptr_equal(s, metric_series(f, (const char *const[]){value}));
    metrics_free(m);
}

static void test_failure_is_quiet(void **state)
{
    (void)state;
    assert_null(metrics_family(NULL, &up));
    assert_null(metric_series(NULL, NULL));
    metric_add(NULL, 1);
    metric_set(NULL, 1);
    metric_observe(NULL, 1);
    assert_true(metric_value(NULL) == 0);
    struct metrics *m = metrics_new();
    struct buf b;
    metrics_family(m, &up);
    buf_init(&b, 20);
    assert_false(metrics_put(m, &b));
    buf_fini(&b);
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_series_ceiling),
        cmocka_unit_test(test_long_values_are_one_series),
        cmocka_unit_test(test_failure_is_quiet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
