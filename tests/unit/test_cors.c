/* Origins: only the listed ones, byte for byte. */
#include "gateway/cors.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

static const char *decide(const char *origin, bool has_star)
{
    static struct cors_grant grant;
    char first[] = "https://app.example", second[] = "http://localhost:3000", star[] = "*";
    char *origins[] = {first, second, star};
    cors_decide(origins, has_star ? 3 : 2, view_of(origin), &grant);
    return grant.origin;
}

static void listed_origins_alone_are_let_in(void **state)
{
    (void)state;
    assert_string_equal(decide("https://app.example", false), "https://app.example");
    assert_string_equal(decide("http://localhost:3000", false), "http://localhost:3000");
    static const char *const others[] = {"https://app.example.evil",
                                         "https://app.exampl",
                                         "http://app.example",
                                         "null",
                                         "https://app.example:443",
                                         "HTTPS://APP.EXAMPLE",
                                         "https://app.example/",
                                         "",
                                         "*"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_string_equal(decide(others[i], false), "");
    assert_string_equal(decide(NULL, true), "");
}

static void a_star_lets_all_in_but_no_nonsense(void **state)
{
    (void)state;
    assert_string_equal(decide("https://else.example", true), "https://else.example");
    assert_string_equal(decide("https://a b", true), "");
    assert_string_equal(decide("https://a\r\nx: y", true), "");
    char longest[CORS_ORIGIN_MAX + 1];
    memset(longest, 'a', sizeof longest);
    longest[CORS_ORIGIN_MAX] = '\0';
    assert_string_equal(decide(longest, true), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listed_origins_alone_are_let_in),
        cmocka_unit_test(a_star_lets_all_in_but_no_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
