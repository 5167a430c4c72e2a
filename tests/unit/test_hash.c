/* Digests against published vectors, and base64url in both directions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/base/hash.h"
#include "common/base/mix.h"
#include "common/base/rng.h"

static void check_hex(const unsigned char digest[SHA256_BYTES], const char *want)
{
    char hex[SHA256_HEX];
    hash_hex(digest, SHA256_BYTES, hex);
    assert_string_equal(hex, want);
}

static void test_sha256(void **state)
{
    (void)state;
    unsigned char d[SHA256_BYTES];
    hash_sha256(VIEW_LIT("abc"), d); /* FIPS 180-4 */
    check_hex(d, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    hash_sha256(VIEW_NONE, d);
    check_hex(d, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    const struct view ab_c[] = {VIEW_LIT("ab"), VIEW_LIT("c")},
                      a_bc[] = {VIEW_LIT("a"), VIEW_LIT("bc")};
    hash_sha256_parts(ab_c, 2, d);
    check_hex(d, "601d5476e2ccfe2c87a2bba7a322659734a05749d5b5aa781f513e4912db0d5f");
    hash_sha256_parts(a_bc, 2, d);
    check_hex(d, "3fafa1cf2f19a7c1129beb20cf0983f73a489a221fc0dd2f16d1be292d089205");
    hash_sha256_parts(NULL, 0, d);
    check_hex(d, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void test_hmac(void **state)
{
    (void)state;
    unsigned char d[SHA256_BYTES], key[131];
    hash_hmac_sha256(VIEW_LIT("Jefe"), VIEW_LIT("what do ya want for nothing?"),
                     d); /* RFC 4231, 2 */
    check_hex(d, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    hash_hmac_sha256(view_make(key, sizeof key),
                     VIEW_LIT("Test Using Larger Than Block-Size Key - Hash Key First"), d); /* 6 */
    check_hex(d, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    hash_hmac_sha256(VIEW_NONE, VIEW_NONE, d);
    check_hex(d, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void test_small_hashes(void **state)
{
    (void)state;
    assert_true(hash_fnv1a(VIEW_NONE) == 0xcbf29ce484222325u);
    assert_true(hash_fnv1a(VIEW_LIT("a")) == 0xaf63dc4c8601ec8cu);
    assert_true(hash_fnv1a(VIEW_LIT("foobar")) == 0x85944171f73967e8u);
    assert_int_equal(hash_crc16(VIEW_LIT("123456789")), 0x31C3);
    assert_int_equal(hash_crc16(VIEW_NONE), 0);
    assert_true(hash_equal("abc", "abc", 3));
    assert_false(hash_equal("abc", "abd", 3));
    assert_true(hash_equal("x", "y", 0));
    assert_true(mix_hash(VIEW_LIT("a"), 1) != mix_hash(VIEW_LIT("a"), 2));
    assert_true(mix_hash(VIEW_LIT("a\0"), 1) != mix_hash(VIEW_LIT("a"), 1));
}

static void check_encoded(struct view bytes, const char *want)
{
    struct buf b, back;
    buf_init(&b, 100);
    buf_init(&back, 100);
    assert_true(base64url_put(&b, bytes));
    assert_true(view_eq_str(buf_view(&b), want));
    assert_true(base64url_decode(buf_view(&b), &back));
    assert_true(view_eq(buf_view(&back), bytes));
    buf_fini(&b);
    buf_fini(&back);
}

static void test_base64url(void **state)
{
    (void)state;
    check_encoded(VIEW_NONE, "");
    check_encoded(VIEW_LIT("f"), "Zg");
    check_encoded(VIEW_LIT("fo"), "Zm8");
    check_encoded(VIEW_LIT("foo"), "Zm9v");
    check_encoded(VIEW_LIT("foobar"), "Zm9vYmFy");
    check_encoded(VIEW_LIT("\xfb\xff\xfe"), "-__-");
    static const char *const bad[] = {"Z",    "Zm9vY", "Zg==", "Zm+v",   "Zm/v",
                                      "Zm9 ", "Zh",    "Zm9",  "\x80mmm"};
    struct buf b;
    buf_init(&b, 100);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        buf_reset(&b);
        assert_false(base64url_decode(view_of(bad[i]), &b));
    }
    buf_fini(&b);
}

static void test_base64url_random(void **state)
{
    (void)state;
    struct rng r;
    struct buf b, back;
    unsigned char bytes[64];
    rng_seed(&r, 5);
    buf_init(&b, 100);
    buf_init(&back, 100);
    for (int round = 0; round < 2000; round++) {
        size_t len = rng_below(&r, sizeof bytes);
        for (size_t i = 0; i < len; i++) bytes[i] = (unsigned char)rng_next(&r);
        buf_reset(&b);
        buf_reset(&back);
        assert_true(base64url_put(&b, view_make(bytes, len)));
        assert_int_equal(b.len, (len * 4 + 2) / 3);
        assert_true(base64url_decode(buf_view(&b), &back));
        assert_true(view_eq(buf_view(&back), view_make(bytes, len)));
    }
    buf_fini(&b);
    buf_fini(&back);
    buf_init(&b, 5);
    assert_false(base64url_put(&b, VIEW_LIT("12345"))); /* the ceiling */
    assert_true(b.failed);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256),           cmocka_unit_test(test_hmac),
        cmocka_unit_test(test_small_hashes),     cmocka_unit_test(test_base64url),
        cmocka_unit_test(test_base64url_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
