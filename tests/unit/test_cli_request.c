/* What is sent: addresses and keys that are checked, bodies that hold a user's JSON as it was
 * typed. */
#include "common/base/hash.h"
#include "common/base/json.h"
#include "common/base/yaml.h"
#include "producer/cli_request.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void url(const char *text, const char *expected)
{
    struct view base = VIEW_NONE;
    struct err err;
    enum err_code code = cli_url_check(text, &base, &err);

    if (!expected) {
        assert_int_equal(code, ERR_INVALID);
        return;
    }
    assert_int_equal(code, ERR_OK);
    assert_true(view_eq_str(base, expected));
}

static void test_urls(void **state)
{
    (void)state;
    url("http://127.0.0.1:8080", "http://127.0.0.1:8080");
    url("https://sluice.example/api///", "https://sluice.example/api");
    url(" http://[::1]:8080/ \n", "http://[::1]:8080");
    url("sluice.example", NULL);
    url("ftp://x", NULL);
    url("http://", NULL);
    url("http:///jobs", NULL);
    url("http://user:pw@host", NULL);
    url("http://host/?a=1", NULL);
    url("http://host/#x", NULL);
    url("http://ho st", NULL);
    url("http://host\r\nX: y", NULL);
    url("", NULL);
}

static void test_keys(void **state)
{
    struct view key;
    struct err err;

    (void)state;
    assert_int_equal(cli_key_check(VIEW_LIT("  sk-abc\n"), &key, &err), ERR_OK);
    assert_true(view_eq_str(key, "sk-abc"));
    const struct view bad[] = {VIEW_LIT(""), VIEW_LIT(" \n"), VIEW_LIT("sk-secret b"),
                               VIEW_LIT("sk-secret\r\nX: y"), VIEW_LIT("sk-secret\xC3\xA4")};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(cli_key_check(bad[i], &key, &err), ERR_INVALID);
        assert_null(strstr(err.text, "secret"));
    }
}

static void test_paths(void **state)
{
    struct cli_args a = {.command = CLI_LIST};
    struct buf out;

    (void)state;
    buf_init(&out, 4096);
    assert_true(cli_path_list(&out, &a));
    assert_true(view_eq_str(buf_view(&out), "/v1/jobs"));
    buf_reset(&out);
    a.option[CLI_OPT_STATUS] = "failed";
    a.option[CLI_OPT_WORKFLOW] = "a&b=/?\xC3\xA4";
    a.option[CLI_OPT_AFTER] = "x.y_z~-1";
    assert_true(cli_path_list(&out, &a));
    assert_true(view_eq_str(buf_view(&out),
                            "/v1/jobs?status=failed&workflow=a%26b%3D%2F%3F%C3%A4&after=x.y_z~-1"));
    buf_reset(&out);
    assert_true(cli_path_job(&out, "0190a1b2-c3d4-7001-8000-0123456789ab", "/events"));
    assert_true(
        view_eq_str(buf_view(&out), "/v1/jobs/0190a1b2-c3d4-7001-8000-0123456789ab/events"));
    buf_fini(&out);
}

static void body(const struct cli_args *a, struct view input, struct view metadata,
                 const char *expected)
{
    static const struct json_limits limits = {1 << 20, JSON_DEPTH_MAX, 1 << 20};
    struct buf out;

    buf_init(&out, 1 << 20);
    assert_true(cli_body_put(&out, a, input, metadata));
    assert_int_equal(json_check(buf_view(&out), &limits, NULL), ERR_OK);
    buf_put_char(&out, '\0');
    assert_string_equal(out.data, expected);
    buf_fini(&out);
}

static void test_bodies(void **state)
{
    struct cli_args a = {.command = CLI_SUBMIT, .operand = "hello"};

    (void)state;
    body(&a, VIEW_NONE, VIEW_NONE, "{\"workflow\":\"hello\",\"input\":{}}");
    a.option[CLI_OPT_VERSION] = "007";
    a.option[CLI_OPT_CLASS] = "bulk";
    a.option[CLI_OPT_KEY] = "quote \" here";
    a.option[CLI_OPT_PRIORITY] = "09";
    a.option[CLI_OPT_RUN_AT] = "10m";
    a.option[CLI_OPT_DEADLINE] = "1h";
    /* Numbers keep their digits, white space inside is the user's. */
    body(&a, VIEW_LIT("\n {\"x\": 0.1, \"n\": 12345678901234567890} \n"), VIEW_LIT("[1, 2]"),
         "{\"workflow\":\"hello\",\"version\":7,\"input\":{\"x\": 0.1, \"n\": "
         "12345678901234567890},\"class\":\"bulk\","
         "\"key\":\"quote \\\" here\",\"run_at\":\"10m\",\"deadline\":\"1h\",\"priority\":9,"
         "\"metadata\":[1, 2]}");
}

static void idempotency(const char *key, const char *expected)
{
    struct buf out;
    struct err err;

    buf_init(&out, 1024);
    assert_int_equal(cli_idempotency_put(&out, key, &err), expected ? ERR_OK : ERR_INVALID);
    if (expected) assert_true(view_eq_str(buf_view(&out), expected));
    buf_fini(&out);
}

static void test_idempotency_keys(void **state)
{
    unsigned char bytes[CLI_RANDOM_KEY_BYTES] = {0, 1, 255};
    char text[CLI_RANDOM_KEY_TEXT], long_key[300];

    (void)state;
    idempotency("order-17", "\"order-17\"");
    idempotency("a \"b\" \\ c", "\"a \\\"b\\\" \\\\ c\"");
    idempotency("", NULL);
    idempotency("line\nend", NULL);
    idempotency("\xC3\xA4", NULL);
    memset(long_key, 'k', sizeof long_key);
    long_key[256] = '\0';
    idempotency(long_key, NULL);
    cli_idempotency_random(bytes, text);
    assert_string_equal(text, "sluice-0001ff00000000000000000000000000");
}

static void test_api_keys(void **state)
{
    unsigned char bytes[CLI_API_KEY_BYTES] = {0xFB, 0xFF}, digest[SHA256_BYTES];
    char key[CLI_API_KEY_TEXT], hex[SHA256_HEX], expected[512];
    struct yaml_doc *doc;
    struct view v;
    struct buf out;
    struct err err;

    (void)state;
    assert_true(CLI_API_KEY_BYTES * 8 >= 160);
    assert_true(cli_api_key(bytes, key));
    assert_int_equal(strlen(key), 3 + 43);
    assert_true(view_starts(view_of(key), "sk-"));
    assert_int_equal(cli_key_check(view_of(key), &v, &err), ERR_OK);
    hash_sha256(view_of(key), digest);
    hash_hex(digest, sizeof digest, hex);
    buf_init(&out, 4096);
    assert_true(cli_api_key_put_yaml(&out, key, NULL, NULL));
    snprintf(expected, sizeof expected, "- {sha256: \"%s\", scopes: [submit, read]}\n", hex);
    assert_true(view_eq_str(buf_view(&out), expected));
    assert_null(strstr(expected, key));
    buf_reset(&out);
    assert_true(cli_api_key_put_yaml(&out, key, "null", "admin"));
    snprintf(expected, sizeof expected,
             "- {id: \"null\", keys: [{sha256: \"%s\", scopes: [admin]}]}\n", hex);
    assert_true(view_eq_str(buf_view(&out), expected));
    assert_int_equal(yaml_parse(buf_view(&out), "out", &doc, &err), ERR_OK);
    yaml_doc_free(doc);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_idempotency_keys),
        cmocka_unit_test(test_api_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
