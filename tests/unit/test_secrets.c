/* Keys of the providers: found where the configuration says, in order, and never shown. */
#include "consumer/adapt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

struct rig {
    char path[64];
    char names[3][16];
    struct config_provider_key keys[3];
    struct config_provider providers[2];
    struct config config;
    struct secrets *secrets;
    struct err err;
};

static void write_file(struct rig *r, const char *text, size_t len)
{
    int fd;

    snprintf(r->path, sizeof r->path, "/tmp/sluice-key-XXXXXX");
    fd = mkstemp(r->path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), (ssize_t)len);
    close(fd);
}

/* The second provider: a file, a variable, another variable. */
static enum err_code load(struct rig *r, const char *text, size_t len)
{
    static char variable[] = "SLUICE_TEST_KEY", other[] = "SLUICE_TEST_KEY_UNSET";

    memset(r, 0, sizeof *r);
    write_file(r, text, len);
    for (size_t i = 0; i < 3; i++) {
        snprintf(r->names[i], sizeof r->names[i], "k%zu", i);
        r->keys[i].name = r->names[i];
    }
    r->keys[0].file = r->path;
    r->keys[1].env = variable;
    r->keys[2].env = other;
    r->providers[1] = (struct config_provider){.name = "main", .keys = r->keys, .key_count = 3};
    r->config.providers = r->providers;
    r->config.provider_count = 2;
    enum err_code code = secrets_load(&r->config, &r->secrets, &r->err);
    unlink(r->path);
    return code;
}

static void each_key_at_its_index(void **state)
{
    struct rig r;

    (void)state;
    setenv("SLUICE_TEST_KEY", "sk-variable", 1);
    assert_int_equal(load(&r, "  sk-file\r\n", 11), ERR_OK);
    assert_true(view_eq_str(secrets_find(r.secrets, &r.providers[1], 0), "sk-file"));
    assert_true(view_eq_str(secrets_find(r.secrets, &r.providers[1], 1), "sk-variable"));
    assert_null(secrets_find(r.secrets, &r.providers[1], 2).ptr);
    assert_null(secrets_find(r.secrets, &r.providers[1], 3).ptr);
    assert_null(secrets_find(r.secrets, &r.providers[0], 0).ptr);
    secrets_free(r.secrets);
}

static void expect_refused(const char *text, size_t len, const char *why)
{
    struct rig r;

    assert_int_not_equal(load(&r, text, len), ERR_OK);
    if (!strstr(r.err.text, why)) fail_msg("%s", r.err.text);
    assert_non_null(strstr(r.err.text, "main"));
    assert_null(strstr(r.err.text, "geheim"));
}

static void what_no_header_can_hold(void **state)
{
    static char large[9000];

    (void)state;
    setenv("SLUICE_TEST_KEY", "sk-variable", 1);
    memset(large, 'x', sizeof large);
    expect_refused("geheim\r\nX-Evil: 1", 17, "bytes that no header can hold");
    expect_refused("geheim more", 11, "bytes that no header can hold");
    expect_refused("geheim\xc3\xa9", 8, "bytes that no header can hold");
    expect_refused("\n", 1, "is empty");
    expect_refused(large, sizeof large, "is over");
    setenv("SLUICE_TEST_KEY", "geheim\nX-Evil: 1", 1);
    expect_refused("sk-file", 7, "SLUICE_TEST_KEY holds bytes");
}

static void a_file_that_is_not_there(void **state)
{
    static char path[] = "/nonexistent/key", name[] = "default";
    struct config_provider_key key = {.name = name, .file = path};
    struct config_provider p = {.name = "main", .keys = &key, .key_count = 1};
    struct config config = {.providers = &p, .provider_count = 1};
    struct secrets *s = NULL;
    struct err err;

    (void)state;
    assert_int_equal(secrets_load(&config, &s, &err), ERR_INVALID);
    assert_null(s);
    assert_non_null(strstr(err.text, "/nonexistent/key"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_key_at_its_index),
                                       cmocka_unit_test(what_no_header_can_hold),
                                       cmocka_unit_test(a_file_that_is_not_there)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
