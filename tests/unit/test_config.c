/* The configuration: golden folders for what is read and what is refused, and the properties that
 * no single file shows: what is printed reads back the same, every key can be set in all three
 * ways, secrets stay out, memory may run out anywhere. */
#include "schemas/config_priv.h"
#include "tests/unit/golden.h"
#include <unistd.h>

struct built {
    struct config *c;
    struct buf errors;
    struct err err;
    enum err_code code;
};

/* A list of words as main's argv is one. */
#define WORDS(...)                                                                                 \
    (char *const *)(uintptr_t)(const char *const[])                                                \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

static struct built build_with(const char *yaml, char *const *env, char *const *flags,
                               size_t flag_count)
{
    struct built b = {.code = ERR_OK};
    buf_init(&b.errors, 1 << 20);
    const struct config_input in = {
        .text = view_of(yaml),
        .name = "sluice.yaml",
        .dir = "/etc/sluice",
        .cwd = "/cwd",
        .worker_name = "host-7",
        .env = env,
        .flags = flags,
        .flag_count = flag_count,
    };
    b.code = config_build(&in, &b.c, &b.errors, &b.err);
    return b;
}

static struct built build(const char *yaml)
{
    return build_with(yaml, NULL, NULL, 0);
}

static void done(struct built *b)
{
    config_free(b->c);
    buf_fini(&b->errors);
}

static void expect_error(struct built b, const char *part)
{
    assert_int_not_equal(b.code, ERR_OK);
    assert_null(b.c);
    buf_put_char(&b.errors, '\0');
    if (!strstr(b.errors.data, part)) fail_msg("no '%s' in: %s", part, b.errors.data);
    done(&b);
}

/* --- golden ----------------------------------------------------------------------------------- */

enum { WORDS_MAX = 64 };

/* Lines of a file as a NULL-ended list; none when the file is not there. */
static size_t read_lines(const char *path, struct buf *text, char *ret[WORDS_MAX])
{
    size_t count = 0;
    if (golden_read(path, text)) buf_put_char(text, '\0');
    for (char *p = text->data; p && *p && count + 1 < WORDS_MAX;) {
        char *end = strchr(p, '\n');
        if (end) *end = '\0';
        if (*p) ret[count++] = p;
        p = end ? end + 1 : p + strlen(p);
    }
    ret[count] = NULL;
    return count;
}

static void with_case(const char *dir, void (*then)(const char *dir, struct built *b))
{
    struct buf yaml, env_text, flag_text;
    char *env[WORDS_MAX], *flags[WORDS_MAX];
    GOLDEN_PATH(file, "%s/sluice.yaml", dir);
    GOLDEN_PATH(env_file, "%s/env", dir);
    GOLDEN_PATH(flag_file, "%s/flags", dir);
    assert_true(golden_read(file, &yaml));
    buf_put_char(&yaml, '\0');
    read_lines(env_file, &env_text, env);
    size_t count = read_lines(flag_file, &flag_text, flags);
    struct built b = build_with(yaml.data, env, flags, count);
    then(dir, &b);
    done(&b);
    buf_fini(&yaml);
    buf_fini(&env_text);
    buf_fini(&flag_text);
}

static void check_valid(const char *dir, struct built *b)
{
    struct buf out;
    GOLDEN_PATH(want, "%s/effective.yaml", dir);
    if (b->code != ERR_OK) fail_msg("%s: %s", dir, b->err.text);
    assert_int_equal(b->errors.len, 0);
    buf_init(&out, 1 << 20);
    assert_true(config_print(b->c, &out));
    golden_check(want, buf_view(&out));
    buf_fini(&out);
}

static void check_invalid(const char *dir, struct built *b)
{
    GOLDEN_PATH(want, "%s/errors.txt", dir);
    if (b->code == ERR_OK) fail_msg("%s was accepted", dir);
    golden_check(want, buf_view(&b->errors));
}

static void valid_case(const char *dir)
{
    with_case(dir, check_valid);
}

static void invalid_case(const char *dir)
{
    with_case(dir, check_invalid);
}

static void golden_valid(void **state)
{
    (void)state;
    golden_each("tests/golden/config/valid", NULL, valid_case);
}

static void golden_invalid(void **state)
{
    (void)state;
    golden_each("tests/golden/config/invalid", NULL, invalid_case);
}

/* --- the table -------------------------------------------------------------------------------- */

/* A value other than the default that every type takes. */
static const char *other_value(const struct config_entry *e)
{
    switch (e->type) {
    case CONFIG_TEXT:
    case CONFIG_WORD:
        return "other";
    case CONFIG_PATH:
        return "/other/path";
    case CONFIG_ADDRESS:
        return "0.0.0.0:4321";
    case CONFIG_BROKERS:
        return "a:1,b:2";
    case CONFIG_URL:
        return "redis://elsewhere:7000/3";
    case CONFIG_CHOICE:
        return strcmp(e->key, "color") == 0 ? "green" : "debug";
    case CONFIG_LIST:
        return "https://a.example";
    case CONFIG_INT:
        return "9";
    case CONFIG_SIZE:
        return "8KiB";
    case CONFIG_REAL:
        return "2.5";
    case CONFIG_DURATION:
        return e->min > 3000 ? "2d" : "3s";
    case CONFIG_BOOL:
        return "true";
    }
    return NULL;
}

static void print_of(struct built *b, struct buf *out)
{
    if (b->code != ERR_OK) fail_msg("%s", b->err.text);
    buf_init(out, 1 << 20);
    assert_true(config_print(b->c, out));
    done(b);
}

static void set_every_way(const struct config_entry *e)
{
    char yaml[200], flag[200], env[200], *flags[] = {flag};
    const char *base = strcmp(e->key, "lanes") == 0 ? "SLUICE_KAFKA_PARTITIONS=9" : "X=1";
    char base_env[64], *file_env[] = {base_env, NULL}, *both[] = {env, base_env, NULL};
    const char *more = strcmp(e->key, "results") == 0 ? ", events: 2s" : "";
    struct buf by_default, by_file, by_env, by_flag;
    snprintf(base_env, sizeof base_env, "%s", *more ? "SLUICE_RETENTION_EVENTS=2s" : base);
    snprintf(yaml, sizeof yaml, "%s: {%s: \"%s\"}", e->section, e->key, other_value(e));
    snprintf(flag, sizeof flag, "--%s.%s=%s", e->section, e->key, other_value(e));
    int n = snprintf(env, sizeof env, "SLUICE_%s_%s", e->section, e->key);
    for (int i = 0; i < n; i++)
        if (env[i] >= 'a' && env[i] <= 'z') env[i] = (char)(env[i] - 32);
    snprintf(env + n, sizeof env - (size_t)n, "=%s", other_value(e));

    struct built b = build_with("{}", file_env, NULL, 0);
    print_of(&b, &by_default);
    b = build_with(yaml, file_env, NULL, 0);
    print_of(&b, &by_file);
    b = build_with("{}", both, NULL, 0);
    print_of(&b, &by_env);
    b = build_with("{}", file_env, flags, 1);
    print_of(&b, &by_flag);
    assert_false(view_eq(buf_view(&by_default), buf_view(&by_file)));
    assert_true(view_eq(buf_view(&by_file), buf_view(&by_env)));
    assert_true(view_eq(buf_view(&by_file), buf_view(&by_flag)));
    buf_fini(&by_default);
    buf_fini(&by_file);
    buf_fini(&by_env);
    buf_fini(&by_flag);
}

static void every_key_in_every_way(void **state)
{
    (void)state;
    size_t count;
    const struct config_entry *table = config_entries(&count);
    for (size_t i = 0; i < count; i++) set_every_way(&table[i]);
}

static void every_bound_holds(void **state)
{
    (void)state;
    size_t count;
    const struct config_entry *table = config_entries(&count);
    for (size_t i = 0; i < count; i++) {
        const struct config_entry *e = &table[i];
        char flag[200], *flags[] = {flag}, where[100];
        if (e->type != CONFIG_INT && e->type != CONFIG_SIZE && e->type != CONFIG_REAL &&
            e->type != CONFIG_DURATION)
            continue;
        snprintf(where, sizeof where, "--%s.%s: must be ", e->section, e->key);
        const char *unit = e->type == CONFIG_DURATION ? "ms" : "";
        snprintf(flag, sizeof flag, "--%s.%s=%lld%s", e->section, e->key, (long long)e->max + 1,
                 unit);
        expect_error(build_with("{}", NULL, flags, 1), where);
        snprintf(flag, sizeof flag, "--%s.%s=%lld%s", e->section, e->key, (long long)e->min - 1,
                 unit);
        expect_error(build_with("{}", NULL, flags, 1), where);
        snprintf(flag, sizeof flag, "--%s.%s=", e->section, e->key);
        expect_error(build_with("{}", NULL, flags, 1), where);
    }
}

static void later_source_wins(void **state)
{
    (void)state;
    char *const *env = WORDS("SLUICE_CONSUMER_MAX_JOBS=20", "SLUICE_CONSUMER_BUILD=v2");
    char *const *flags = WORDS("--consumer.max_jobs=30");
    struct built b = build_with("consumer: {max_jobs: 10, build: v1, color: green}", env, flags, 1);
    assert_int_equal(b.code, ERR_OK);
    assert_int_equal(b.c->consumer.max_jobs, 30);
    assert_string_equal(b.c->consumer.build, "v2");
    assert_string_equal(b.c->consumer.color, "green");
    done(&b);
}

/* Every SLUICE_ name that is not a setting of a known section belongs to somebody else. */
static void other_variables_are_left_alone(void **state)
{
    (void)state;
    char *const *env =
        WORDS("SLUICE_URL=http://x", "SLUICE_KEY=k", "SLUICE_KEY_2=k", "SLUICE_ADMIN_URL=u",
              "SLUICE_PROVIDER_KEY=s", "SLUICE_CONFIG=f", "SLUICE_GATEWAY_PORT=tcp://10.0.0.1:80",
              "SLUICE_GATEWAY_SERVICE_HOST=10.0.0.1", "SLUICE_GATEWAY_PORT_80_TCP_ADDR=10.0.0.1",
              "SLUICE_GATEWAY_SERVICE_PORT_HTTP=80");
    struct built b = build_with("", env, NULL, 0);
    assert_int_equal(b.code, ERR_OK);
    done(&b);
}

static void unknown_variables_are_told(void **state)
{
    (void)state;
    static const char *const names[] = {"KAFKA",     "REDIS", "GATEWAY",  "CONSUMER",
                                        "RETENTION", "LOG",   "WORKFLOWS"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char text[64], *env[] = {text, NULL};
        snprintf(text, sizeof text, "SLUICE_%s_ZZZZ=1", names[i]);
        expect_error(build_with("", env, NULL, 0), "_ZZZZ: unknown setting");
    }
    char *const *port = WORDS("SLUICE_GATEWAY_PORT=8080");
    expect_error(build_with("", port, NULL, 0), "SLUICE_GATEWAY_PORT: unknown setting");
}

/* --- lists ------------------------------------------------------------------------------------ */

#define HASH_A "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"

static void tenants_are_read(void **state)
{
    (void)state;
    struct built b =
        build("tenants:\n  - {id: a-1_b, weight: 3, max_queued: 7, keys: [{sha256: " HASH_A
              ", scopes: [admin, read]}]}\n"
              "  - {id: none}\n");
    if (b.code != ERR_OK) fail_msg("%s", b.err.text);
    const struct config_tenant *t = config_tenant_find(b.c, VIEW_LIT("a-1_b"));
    assert_non_null(t);
    assert_int_equal(t->weight, 3);
    assert_int_equal(t->max_queued, 7);
    assert_int_equal(t->keys[0].scopes, SCOPE_ADMIN | SCOPE_READ);
    assert_int_equal(t->keys[0].sha256[0], 0x2b);
    assert_int_equal(t->keys[0].sha256[31], 0x5b);
    assert_int_equal(config_tenant_find(b.c, VIEW_LIT("none"))->max_queued, 100000);
    assert_null(config_tenant_find(b.c, VIEW_LIT("a-1")));
    done(&b);
}

static void a_key_has_one_tenant(void **state)
{
    (void)state;
    expect_error(build("tenants:\n  - {id: a, keys: [{sha256: " HASH_A
                       "}]}\n  - {id: b, keys: [{sha256: " HASH_A "}]}\n"),
                 "sluice.yaml:3: tenants[1].keys[0].sha256: this key stands twice");
    expect_error(build("tenants:\n  - {id: a}\n  - {id: a}\n"),
                 "sluice.yaml:3: tenants[1].id: tenant a stands twice");
}

static void models_are_read(void **state)
{
    (void)state;
    struct built b = build(
        "models: {m: {route: [{provider: p, model: gpt}], budget: {concurrency: 5}, price: "
        "{output_per_million: 0.5}}}\n"
        "providers: {p: {kind: vllm, base_url: \"http://127.0.0.1:1/v1/\", api_key_file: key}}\n");
    if (b.code != ERR_OK) fail_msg("%s", b.err.text);
    const struct config_model *m = config_model_find(b.c, VIEW_LIT("m"));
    const struct config_provider *p = config_provider_find(b.c, VIEW_LIT("p"));
    assert_string_equal(m->routes[0].provider, "p");
    assert_string_equal(m->routes[0].model, "gpt");
    assert_int_equal(m->budget.concurrency, 5);
    assert_true(m->price.output_per_million > 0.49 && m->price.output_per_million < 0.51);
    assert_int_equal(p->kind, PROVIDER_VLLM);
    assert_string_equal(p->base_url, "http://127.0.0.1:1/v1");
    assert_string_equal(p->keys[0].file, "/etc/sluice/key");
    done(&b);
}

/* A budget belongs to the provider's model: who leaves it out shares the one that is written. */
static void models_share_a_budget(void **state)
{
    (void)state;
    struct built b =
        build("providers: {p: {kind: vllm, base_url: \"http://127.0.0.1:1\"}}\n"
              "models:\n"
              "  late: {route: [{provider: p, model: x}]}\n"
              "  none: {route: [{provider: p, model: y}]}\n"
              "  given: {route: [{provider: p, model: x, budget: {concurrency: 3}}], budget: "
              "{concurrency: 9}, price: {input_per_million: 2}}\n");
    if (b.code != ERR_OK) fail_msg("%s", b.err.text);
    const struct config_model *late = config_model_find(b.c, VIEW_LIT("late"));
    const struct config_model *none = config_model_find(b.c, VIEW_LIT("none"));
    assert_int_equal(config_model_find(b.c, VIEW_LIT("given"))->routes[0].budget.concurrency, 3);
    assert_false(late->routes[0].has_budget);
    assert_int_equal(late->failover, FAILOVER_OUTAGE | FAILOVER_EXHAUSTED);
    assert_int_equal(none->routes[0].budget.concurrency, 0);
    assert_int_equal(none->routes[0].budget.start, 60);
    assert_true(none->routes[0].budget.learn);
    done(&b);
}

static void keys_are_matched_in_order(void **state)
{
    (void)state;
    struct built b = build("keys:\n  - {match: \"site:one\", concurrency: 1}\n"
                           "  - {match: \"site:*\", concurrency: 2, per_minute: 30}\n");
    if (b.code != ERR_OK) fail_msg("%s", b.err.text);
    assert_int_equal(config_key_limit_find(b.c, VIEW_LIT("site:one"))->concurrency, 1);
    assert_int_equal(config_key_limit_find(b.c, VIEW_LIT("site:ones"))->per_minute, 30);
    assert_int_equal(config_key_limit_find(b.c, VIEW_LIT("site:"))->concurrency, 2);
    assert_null(config_key_limit_find(b.c, VIEW_LIT("site")));
    assert_null(config_key_limit_find(b.c, VIEW_LIT("")));
    done(&b);
}

/* --- secrets ---------------------------------------------------------------------------------- */

static void secrets_stay_out(void **state)
{
    (void)state;
    char *const *env = WORDS("KPW=geheim-1", "SLUICE_REDIS_URL=redis://u:geheim-2@h:1/0");
    struct built b =
        build_with("kafka: {security: {sasl.password_env: KPW, sasl.username: me}}", env, NULL, 0);
    struct buf out;
    if (b.code != ERR_OK) fail_msg("%s", b.err.text);
    assert_string_equal(b.c->kafka.settings[0].name, "sasl.password");
    assert_string_equal(b.c->kafka.settings[0].value, "geheim-1");
    buf_init(&out, 1 << 20);
    assert_true(config_print(b.c, &out));
    buf_put_char(&out, '\0');
    assert_null(strstr(out.data, "geheim"));
    assert_non_null(strstr(out.data, "sasl.password_env: \"KPW\""));
    assert_non_null(strstr(out.data, "redis://u:***@h:1/0"));
    buf_fini(&out);
    done(&b);

    static const char *const bad[] = {
        "kafka: {security: {sasl.password: geheim}}",
        "redis: {url: \"geheim://x\"}",
        "providers: {p: {kind: openai, api_key: geheim}}",
        "providers: {p: {kind: openai, api_key_env: geheim-x}}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        b = build(bad[i]);
        assert_int_equal(b.code, ERR_INVALID);
        buf_put_char(&b.errors, '\0');
        assert_null(strstr(b.errors.data, "geheim"));
        assert_null(strstr(b.err.text, "geheim"));
        done(&b);
    }
}

/* --- files ------------------------------------------------------------------------------------ */

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void files_are_read(void **state)
{
    (void)state;
    char dir[] = "build/test_config.XXXXXX", variable[700], *env[] = {variable, NULL};
    assert_non_null(mkdtemp(dir));
    GOLDEN_PATH(file, "%s/sluice.yaml", dir);
    GOLDEN_PATH(secret, "%s/pw", dir);
    write_text(file, "workflows: {dir: w}\nkafka: {security: {ssl.key.password_file: pw}}\n");
    snprintf(variable, sizeof variable, "SLUICE_CONFIG=%s", file);
    struct config *c = NULL;
    struct buf errors;
    struct err err;
    buf_init(&errors, 4096);
    assert_int_equal(config_load(NULL, env, NULL, 0, &c, &errors, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "ssl.key.password_file"));
    write_text(secret, "pass word\r\n");
    assert_int_equal(config_load(file, NULL, NULL, 0, &c, &errors, &err), ERR_OK);
    assert_string_equal(c->kafka.settings[0].value, "pass word");
    assert_int_equal(c->workflows_dir[0], '/');
    assert_non_null(strstr(c->workflows_dir, dir + strlen("build/")));
    assert_non_null(strchr(c->consumer.name, '-'));
    config_free(c);
    assert_int_equal(config_load("build/no-such-file.yaml", NULL, NULL, 0, &c, &errors, &err),
                     ERR_NOT_FOUND);
    assert_int_equal(config_load(dir, NULL, NULL, 0, &c, &errors, &err), ERR_NOT_FOUND);
    assert_int_equal(config_load(NULL, NULL, NULL, 0, &c, NULL, &err), ERR_OK);
    config_free(c);
    buf_fini(&errors);
    unlink(secret);
    unlink(file);
    rmdir(dir);
}

/* The example that people copy from and the one of `make run` stay good. */
static void shipped_files_are_good(void **state)
{
    (void)state;
    struct config *c = NULL;
    struct err err;
    if (config_load("tests/stack/sluice.yaml", NULL, NULL, 0, &c, NULL, &err) != ERR_OK)
        fail_msg("%s", err.text);
    assert_non_null(config_model_find(c, VIEW_LIT("fast")));
    config_free(c);
}

/* --- printing --------------------------------------------------------------------------------- */

static void printed_reads_back(const char *dir)
{
    GOLDEN_PATH(file, "%s/effective.yaml", dir);
    struct buf yaml, again;
    assert_true(golden_read(file, &yaml));
    buf_put_char(&yaml, '\0');
    struct built b = build_with(yaml.data, WORDS("KAFKA_PASSWORD=x"), NULL, 0);
    print_of(&b, &again);
    assert_true(view_eq(buf_view(&again), view_make(yaml.data, yaml.len - 1)));
    buf_fini(&yaml);
    buf_fini(&again);
}

static void printing_is_a_fixed_point(void **state)
{
    (void)state;
    golden_each("tests/golden/config/valid", NULL, printed_reads_back);
}

static void page_is_current(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_true(config_print_keys(&out, true));
    golden_check("schemas/CONFIG.md", buf_view(&out));
    buf_reset(&out);
    assert_true(config_print_keys(&out, false));
    buf_put_char(&out, '\0');
    assert_non_null(strstr(out.data, "--kafka.partitions=8"));
    buf_fini(&out);
}

static void a_short_buffer_is_told(void **state)
{
    (void)state;
    struct built b = build("");
    struct buf out;
    buf_init(&out, 100);
    assert_false(config_print(b.c, &out));
    buf_fini(&out);
    done(&b);
}

/* The list of complaints has a ceiling; the verdict does not hang on it. */
static void complaints_are_bounded(void **state)
{
    (void)state;
    struct buf yaml, errors;
    struct config *c = NULL;
    struct err err;
    buf_init(&yaml, 1 << 20);
    for (int i = 0; i < 2000; i++) buf_printf(&yaml, "key%d: 1\n", i);
    buf_init(&errors, 4096);
    const struct config_input in = {.text = buf_view(&yaml), .name = "f", .dir = "/d", .cwd = "/c"};
    assert_int_equal(config_build(&in, &c, &errors, &err), ERR_INVALID);
    assert_true(errors.len <= 4096);
    assert_non_null(strstr(err.text, "1999 more"));
    buf_fini(&yaml);
    buf_fini(&errors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_valid),
        cmocka_unit_test(golden_invalid),
        cmocka_unit_test(every_key_in_every_way),
        cmocka_unit_test(every_bound_holds),
        cmocka_unit_test(later_source_wins),
        cmocka_unit_test(other_variables_are_left_alone),
        cmocka_unit_test(unknown_variables_are_told),
        cmocka_unit_test(tenants_are_read),
        cmocka_unit_test(a_key_has_one_tenant),
        cmocka_unit_test(models_are_read),
        cmocka_unit_test(models_share_a_budget),
        cmocka_unit_test(keys_are_matched_in_order),
        cmocka_unit_test(secrets_stay_out),
        cmocka_unit_test(files_are_read),
        cmocka_unit_test(shipped_files_are_good),
        cmocka_unit_test(printing_is_a_fixed_point),
        cmocka_unit_test(page_is_current),
        cmocka_unit_test(a_short_buffer_is_told),
        cmocka_unit_test(complaints_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
