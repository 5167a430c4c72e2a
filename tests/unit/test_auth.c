/* Keys: where they are found in a request, whose they are. */
#include "common/base/hash.h"
#include "gateway/auth.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

static struct config_key key_of(const char *text, unsigned scopes)
{
    struct config_key k = {.scopes = scopes};
    hash_sha256(view_of(text), k.sha256);
    return k;
}

static void a_key_opens_its_tenant_with_its_scopes(void **state)
{
    (void)state;
    struct config_key a[2] = {key_of("sk-a1", SCOPE_SUBMIT | SCOPE_READ),
                              key_of("sk-a2", SCOPE_READ)};
    struct config_key b[1] = {key_of("sk-b", SCOPE_ADMIN)};
    struct config_tenant tenants[2] = {{.id = "acme", .keys = a, .key_count = 2, .max_queued = 7},
                                       {.id = "beta", .keys = b, .key_count = 1}};
    struct auth *auth = auth_new(tenants, 2);
    struct auth_who who;
    assert_non_null(auth);
    assert_true(auth_check(auth, VIEW_LIT("sk-a1"), &who));
    assert_string_equal(who.tenant, "acme");
    assert_int_equal(who.scopes, SCOPE_SUBMIT | SCOPE_READ);
    assert_int_equal(who.max_queued, 7);
    assert_true(auth_check(auth, VIEW_LIT("sk-a2"), &who));
    assert_int_equal(who.scopes, SCOPE_READ);
    assert_true(auth_check(auth, VIEW_LIT("sk-b"), &who));
    assert_string_equal(who.tenant, "beta");
    static const char *const wrong[] = {"", "sk-a", "sk-a1 ", "sk-a11", "SK-A1", "acme"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(auth_check(auth, view_of(wrong[i]), &who));
    /* the hash itself is no key */
    char hex[SHA256_HEX];
    hash_hex(a[0].sha256, SHA256_BYTES, hex);
    assert_false(auth_check(auth, view_of(hex), &who));
    assert_false(auth_check(auth, view_make(a[0].sha256, SHA256_BYTES), &who));
    auth_free(auth);
}

static void a_tenant_is_found_for_its_tokens(void **state)
{
    (void)state;
    struct config_tenant tenants[1] = {{.id = "acme"}};
    struct auth *auth = auth_new(tenants, 1);
    struct auth_who who;
    assert_true(auth_tenant(auth, VIEW_LIT("acme"), &who));
    assert_int_equal(who.scopes, SCOPE_READ);
    assert_false(auth_tenant(auth, VIEW_LIT("acm"), &who));
    auth_free(auth);
}

static void two_tenants_with_one_key_are_refused(void **state)
{
    (void)state;
    struct config_key k = key_of("same", SCOPE_READ);
    struct config_tenant tenants[2] = {{.id = "a", .keys = &k, .key_count = 1},
                                       {.id = "b", .keys = &k, .key_count = 1}};
    assert_null(auth_new(tenants, 2));
}

static void no_tenants_let_nobody_in(void **state)
{
    (void)state;
    struct auth_who who;
    struct auth *auth = auth_new(NULL, 0);
    assert_non_null(auth);
    assert_false(auth_check(auth, VIEW_LIT("x"), &who));
    auth_free(auth);
}

static void the_key_is_found_where_clients_put_it(void **state)
{
    (void)state;
    static const struct {
        const char *authorization, *x_api_key, *key; /* key NULL: none found */
    } cases[] = {
        {"Bearer sk-1", NULL, "sk-1"},
        {"bearer sk-1", NULL, "sk-1"},
        {"BEARER   sk-1  ", NULL, "sk-1"},
        {NULL, "sk-2", "sk-2"},
        {"Bearer sk-1", "sk-2", "sk-1"},
        {NULL, NULL, NULL},
        {"", NULL, NULL},
        {"Bearer", NULL, NULL},
        {"Bearer ", NULL, NULL},
        {"Bearer", "sk-2", NULL}, /* a bad Authorization is not saved by another field */
        {"Basic c2stMQ==", NULL, NULL},
        {"Basic c2stMQ==", "sk-2", NULL},
        {"Bearer sk 1", NULL, NULL},
        {"Bearer sk\t1", NULL, NULL},
        {"Bearer \xc3\xa9", NULL, NULL},
        {NULL, "", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct view key = VIEW_NONE;
        bool found =
            auth_key_of(view_of(cases[i].authorization), view_of(cases[i].x_api_key), &key);
        assert_int_equal(found, cases[i].key != NULL);
        if (found) assert_true(view_eq_str(key, cases[i].key));
    }
    char longest[600];
    memset(longest, 'k', sizeof longest);
    struct view key;
    assert_true(auth_key_of(VIEW_NONE, view_make(longest, 512), &key));
    assert_false(auth_key_of(VIEW_NONE, view_make(longest, 513), &key));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_opens_its_tenant_with_its_scopes),
        cmocka_unit_test(a_tenant_is_found_for_its_tokens),
        cmocka_unit_test(two_tenants_with_one_key_are_refused),
        cmocka_unit_test(no_tenants_let_nobody_in),
        cmocka_unit_test(the_key_is_found_where_clients_put_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
