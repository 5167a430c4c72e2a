/* What doctor makes of what it finds: every verdict, and that what is not well says what to do. */
#include "producer/cli_checks.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static int setup(void **state)
{
    struct cli_report *r = calloc(1, sizeof *r);

    cli_report_init(r, false);
    *state = r;
    return 0;
}

static int teardown(void **state)
{
    cli_report_fini(*state);
    free(*state);
    return 0;
}

/* What was said since the last look holds these; every line that is not ok has its advice. */
static void said(struct cli_report *r, const char *verdict, const char *text)
{
    char *out;
    struct view line, rest;

    buf_put_char(&r->out, '\0');
    out = r->out.data;
    if (!strstr(out, text)) fail_msg("no '%s' in:\n%s", text, out);
    if (!strstr(out, verdict)) fail_msg("no '%s' in:\n%s", verdict, out);
    for (rest = view_of(out); view_cut(rest, '\n', &line, &rest);)
        if (view_starts(line, "fail") || view_starts(line, "warn"))
            assert_true(view_starts(view_trim(rest), "-> "));
    buf_reset(&r->out);
}

static struct config *config_of(const char *yaml)
{
    const struct config_input in = {
        .text = view_of(yaml), .name = "t.yaml", .dir = "/d", .cwd = "/d", .worker_name = "w"};
    struct config *c = NULL;
    struct buf errors;
    struct err err;

    buf_init(&errors, 4096);
    if (config_build(&in, &c, &errors, &err) != ERR_OK)
        fail_msg("%.*s", (int)errors.len, errors.data);
    buf_fini(&errors);
    return c;
}

/* --- kafka --- */

struct cluster {
    struct kafka_look_topic topics[TOPIC_COUNT];
    struct kafka_look look;
};

static void cluster_init(struct cluster *k, int partitions, int replicas)
{
    *k = (struct cluster){.look = {.brokers = 3,
                                   .topics = k->topics,
                                   .topic_count = TOPIC_COUNT,
                                   .is_known = true,
                                   .state = "Stable",
                                   .reason = "",
                                   .members = 2,
                                   .owned = 8}};
    for (int t = 0; t < TOPIC_COUNT; t++)
        k->topics[t] = (struct kafka_look_topic){
            .name = "sluice.x",
            .partitions = topic_policy((enum topic)t).one_partition ? 1 : partitions,
            .replicas = replicas};
}

static void test_kafka(void **state)
{
    struct cli_report *r = *state;
    struct config *c = config_of("kafka: {replication_factor: 3}\n");
    struct cluster k;
    struct err e = {.code = ERR_UNAVAILABLE, .text = "Connection refused"};

    cli_check_kafka(r, c, &e, NULL);
    said(r, "fail  kafka", "127.0.0.1:9092: Connection refused");
    cluster_init(&k, 8, 3);
    cli_check_kafka(r, c, NULL, &k.look);
    assert_int_equal(r->fails, 1);
    assert_int_equal(r->warns, 0);
    said(r, "ok    workers", "2, holding all 8 homes");
    k.topics[TOPIC_STATE].partitions = 4;
    k.topics[TOPIC_CONT].leaderless = 2;
    k.topics[TOPIC_DLQ].partitions = 0;
    cli_check_kafka(r, c, NULL, &k.look);
    assert_int_equal(r->fails, 3);
    assert_int_equal(r->warns, 1);
    said(r, "fail  topics", "sluice.x has 4 partitions, not 8");
    cluster_init(&k, 0, 0);
    k.topics[TOPIC_CONTROL].partitions = 0;
    cli_check_kafka(r, c, NULL, &k.look);
    said(r, "warn  topics", "none is there yet");
    cluster_init(&k, 8, 1);
    k.look.brokers = 1;
    cli_check_kafka(r, c, NULL, &k.look);
    said(r, "fail  replicas", "is 3, but there are 1 brokers");
    k.look.brokers = 3;
    cli_check_kafka(r, c, NULL, &k.look);
    said(r, "warn  replicas", "topics have 1 replicas");
    k.look.members = 0;
    cli_check_kafka(r, c, NULL, &k.look);
    said(r, "warn  workers", "none in group sluice.workers");
    k.look.members = 1;
    k.look.owned = 3;
    cli_check_kafka(r, c, NULL, &k.look);
    said(r, "warn  workers", "1, holding 3 of 8 homes");
    k.look.is_known = false;
    k.look.reason = "not authorized";
    cli_check_kafka(r, c, NULL, &k.look);
    said(r, "warn  workers", "not authorized");
    config_free(c);
    c = config_of("");
    cli_check_kafka(r, c, NULL, &k.look);
    said(r, "warn  replicas", "1: a lost disk is a lost queue");
    config_free(c);
}

/* --- redis --- */

static void test_redis(void **state)
{
    struct cli_report *r = *state;
    const struct view well =
        VIEW_LIT("# Server\r\nredis_version:7.0.15\r\nrole:master\r\nloading:0\r\naof_enabled:1\r\n"
                 "aof_last_write_status:ok\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n");

    cli_check_redis_info(r, well);
    assert_int_equal(r->oks, 3);
    assert_int_equal(r->warns + r->fails, 0);
    said(r, "ok    redis", "version 7.0.15");
    cli_check_redis_info(
        r,
        VIEW_LIT(
            "redis_version:6.2.7\r\nrole:slave\r\nloading:1\r\naof_enabled:0\r\nmaxmemory:1000\r\n"
            "maxmemory_policy:allkeys-lru\r\n"));
    assert_int_equal(r->fails, 3);
    assert_int_equal(r->warns, 2);
    said(r, "fail  redis", "version 6.2.7");
    cli_check_redis_info(
        r,
        VIEW_LIT(
            "redis_version:10.1.0\r\nrole:master\r\naof_enabled:1\r\naof_last_write_status:err\r\n"
            "maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n"));
    assert_int_equal(r->fails, 4);
    assert_int_equal(r->warns, 3);
    said(r, "fail  redis", "cannot be written");
    cli_check_redis_info(r, VIEW_LIT("nothing of use"));
    said(r, "fail  redis", "version unknown");
    cli_check_redis_info(r, VIEW_NONE);
    said(r, "warn  redis", "INFO is refused");
}

static void test_redis_nodes(void **state)
{
    struct cli_report *r = *state;
    struct reply items[2] = {{.kind = REPLY_STR, .str = VIEW_LIT("stream-node-max-bytes")},
                             {.kind = REPLY_STR, .str = VIEW_LIT("1024")}};
    const struct reply answer = {.kind = REPLY_ARRAY, .items = items, .count = 2};
    const struct reply refused = {.kind = REPLY_ERROR, .str = VIEW_LIT("NOPERM")};

    cli_check_redis_nodes(r, &answer);
    said(r, "ok    redis", "stream-node-max-bytes 1024");
    items[1].str = VIEW_LIT("4096");
    cli_check_redis_nodes(r, &answer);
    said(r, "warn  redis", "4096");
    cli_check_redis_nodes(r, &refused);
    said(r, "warn  redis", "refused");
}

static void test_clock(void **state)
{
    struct cli_report *r = *state;
    struct reply items[2] = {{.kind = REPLY_STR, .str = VIEW_LIT("1767312000")},
                             {.kind = REPLY_STR, .str = VIEW_LIT("250000")}};
    const struct reply answer = {.kind = REPLY_ARRAY, .items = items, .count = 2};
    const struct reply refused = {.kind = REPLY_NIL};

    /* Half of the way there and back is not the clock's. */
    cli_check_clock(r, &answer, 1767312000000, 1767312000500);
    said(r, "ok    clock", "0ms");
    cli_check_clock(r, &answer, 1767312001250, 1767312001250);
    said(r, "warn  clock", "1.0s ahead of Redis'");
    cli_check_clock(r, &answer, 1767311990250, 1767311990250);
    said(r, "fail  clock", "10.0s behind Redis'");
    cli_check_clock(r, &refused, 0, 0);
    said(r, "warn  clock", "unknown");
}

/* --- configuration --- */

static bool has_variable(void *arg, const char *name)
{
    return strcmp(name, arg) == 0;
}

static bool can_read(void *arg, const char *path)
{
    (void)arg;
    return strcmp(path, "/d/there") == 0;
}

static void test_providers(void **state)
{
    struct cli_report *r = *state;
    char name[] = "SET";
    const struct cli_secrets secrets = {
        .has_variable = has_variable, .can_read = can_read, .arg = name};
    struct config *c = config_of(
        "providers:\n"
        "  a: {kind: openai, api_key_env: SET}\n"
        "  b: {kind: openai, api_key_env: UNSET}\n"
        "  c: {kind: openai, api_key_file: there}\n"
        "  d: {kind: openai, api_key_file: gone}\n"
        "  e: {kind: vllm, base_url: \"http://h\"}\n"
        "  f: {kind: openai, api_key_env: SET}\n"
        "models:\n"
        "  m: {route: [{provider: a, model: x}, {provider: b, model: x}, {provider: c, model: x},\n"
        "              {provider: d, model: x}, {provider: e, model: x}]}\n");

    cli_check_providers(r, c, &secrets);
    assert_int_equal(r->oks, 3);
    assert_int_equal(r->warns, 2);
    assert_int_equal(r->fails, 1);
    said(r, "warn  provider", "b: UNSET is not set here");
    config_free(c);
    c = config_of("");
    cli_check_providers(r, c, &secrets);
    said(r, "warn  models", "none");
    cli_check_tenants(r, c);
    said(r, "warn  tenants", "nobody can submit");
    config_free(c);
    c = config_of("tenants: [{id: acme, keys: [{sha256: "
                  "\"0000000000000000000000000000000000000000000000000000000000000000\"}]}]\n");
    cli_check_tenants(r, c);
    said(r, "ok    tenants", "1, with 1 keys");
    config_free(c);
}

/* --- gateway --- */

static void test_gateway(void **state)
{
    struct cli_report *r = *state;
    struct err e = {.code = ERR_UNAVAILABLE, .text = "http: Couldn't connect to server"};
    struct cli_heard h = {.url = "http://gw", .status = 200, .has_key = true};

    cli_check_ready(r, &h);
    said(r, "ok    gateway", "ready");
    cli_check_api(r, &h);
    said(r, "ok    api", "the key is good");
    h.status = 503;
    h.body = VIEW_LIT("waiting for kafka\n\x1b[2J");
    cli_check_ready(r, &h);
    said(r, "fail  gateway", "not ready (503) waiting for kafka \xEF\xBF\xBD[2J");
    cli_check_api(r, &h);
    said(r, "warn  api", "status 503\n");
    h.body = VIEW_LIT("{\"title\":\"t\",\"detail\":\"a home is being rebuilt\"}");
    cli_check_api(r, &h);
    said(r, "warn  api", "status 503: a home is being rebuilt\n");
    h.status = 500;
    cli_check_api(r, &h);
    said(r, "fail  api", "status 500");
    h.status = 404;
    cli_check_ready(r, &h);
    said(r, "fail  gateway", "no /readyz there");
    h.status = 401;
    cli_check_api(r, &h);
    said(r, "fail  api", "the key is not known");
    h.has_key = false;
    cli_check_api(r, &h);
    said(r, "ok    api", "no SLUICE_KEY to try");
    h.status = 403;
    cli_check_api(r, &h);
    said(r, "warn  api", "may not read");
    h.e = &e;
    cli_check_ready(r, &h);
    said(r, "fail  gateway", "http://gw: Couldn't connect to server");
    cli_check_api(r, &h);
    said(r, "fail  api", "http://gw: Couldn't connect to server");
    cli_report_put_sum(r);
    said(r, "3 ok", "3 ok, 3 warnings, 6 failures");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kafka, setup, teardown),
        cmocka_unit_test_setup_teardown(test_redis, setup, teardown),
        cmocka_unit_test_setup_teardown(test_redis_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_clock, setup, teardown),
        cmocka_unit_test_setup_teardown(test_providers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gateway, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
