/* Job tokens: what one gateway signs every gateway with the key honours, and nothing else. */
#include "gateway/token.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

static struct token_key key_from(const char *secret)
{
    struct token_key key;
    assert_true(token_key_of(view_of(secret), &key));
    return key;
}

static struct token_claim claim_of(void)
{
    struct token_claim c = {.tenant = "acme", .expires_ms = 5000};
    assert_true(id_parse(VIEW_LIT("01a20f90-bb1d-7001-9f75-12f927ebbb5e"), &c.job));
    return c;
}

static void mint(const struct token_key *key, struct buf *out)
{
    struct token_claim c = claim_of();
    buf_init(out, TOKEN_TEXT_MAX);
    assert_true(token_mint(key, &c, out));
}

static void what_was_signed_is_read_back(void **state)
{
    (void)state;
    struct token_key key = key_from("a secret of some length"),
                     same = key_from("  a secret of some length\n");
    struct token_claim got;
    struct buf text;
    mint(&key, &text);
    assert_int_equal(token_check(&same, buf_view(&text), 4999, &got), TOKEN_GOOD);
    assert_string_equal(got.job.text, "01a20f90-bb1d-7001-9f75-12f927ebbb5e");
    assert_string_equal(got.tenant, "acme");
    assert_int_equal(got.expires_ms, 5000);
    assert_int_equal(token_check(&key, buf_view(&text), 5000, &got), TOKEN_EXPIRED);
    buf_fini(&text);
}

static void another_key_makes_it_worthless(void **state)
{
    (void)state;
    struct token_key key = key_from("a secret of some length"),
                     other = key_from("a secret of some lengtH");
    struct token_claim got;
    struct buf text;
    mint(&key, &text);
    assert_int_equal(token_check(&other, buf_view(&text), 0, &got), TOKEN_BAD);
    assert_int_equal(token_check(&other, buf_view(&text), 9999, &got),
                     TOKEN_BAD); /* not even "expired" is told */
    buf_fini(&text);
}

static void any_changed_byte_is_seen(void **state)
{
    (void)state;
    struct token_key key = key_from("a secret of some length");
    struct token_claim got;
    struct buf text;
    mint(&key, &text);
    for (size_t i = 0; i < text.len; i++) {
        for (int bit = 0; bit < 7; bit++) {
            text.data[i] = (char)(text.data[i] ^ 1 << bit);
            assert_int_equal(token_check(&key, buf_view(&text), 0, &got), TOKEN_BAD);
            text.data[i] = (char)(text.data[i] ^ 1 << bit);
        }
    }
    for (size_t len = 0; len < text.len; len++)
        assert_int_equal(token_check(&key, view_make(text.data, len), 0, &got), TOKEN_BAD);
    buf_put_char(&text, 'A');
    assert_int_equal(token_check(&key, buf_view(&text), 0, &got), TOKEN_BAD);
    buf_fini(&text);
}

static void short_secrets_are_refused(void **state)
{
    (void)state;
    struct token_key key;
    assert_false(token_key_of(VIEW_LIT("fifteen chars.."), &key));
    assert_false(token_key_of(VIEW_LIT("          fifteen chars..         "), &key));
    assert_true(token_key_of(VIEW_LIT("sixteen chars..!"), &key));
}

static void the_longest_tenant_fits(void **state)
{
    (void)state;
    struct token_key key = key_from("a secret of some length");
    struct token_claim c = claim_of(), got;
    struct buf text;
    memset(c.tenant, 't', sizeof c.tenant - 1);
    c.expires_ms = INT64_MAX;
    buf_init(&text, TOKEN_TEXT_MAX);
    assert_true(token_mint(&key, &c, &text));
    assert_int_equal(token_check(&key, buf_view(&text), 0, &got), TOKEN_GOOD);
    assert_string_equal(got.tenant, c.tenant);
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_signed_is_read_back),
        cmocka_unit_test(another_key_makes_it_worthless),
        cmocka_unit_test(any_changed_byte_is_seen),
        cmocka_unit_test(short_secrets_are_refused),
        cmocka_unit_test(the_longest_tenant_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
