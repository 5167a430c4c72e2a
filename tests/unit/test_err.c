/* Errors: what is set, what is cut, what is wrapped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/err.h"

static void test_set(void **state)
{
    (void)state;
    struct err e;
    assert_int_equal(err_set(&e, ERR_TIMEOUT, "no answer in %d ms", 30), ERR_TIMEOUT);
    assert_int_equal(e.code, ERR_TIMEOUT);
    assert_string_equal(e.text, "no answer in 30 ms");
    assert_string_equal(e.where, "");
    assert_int_equal(err_set_at(&e, ERR_INVALID, "/input/url", "not a %s", "URL"), ERR_INVALID);
    assert_string_equal(e.where, "/input/url");
    assert_string_equal(e.text, "not a URL");
    assert_int_equal(err_set_at(&e, ERR_INVALID, e.where, "its own place"), ERR_INVALID);
    assert_string_equal(e.where, "/input/url");
    err_set(&e, ERR_FULL, "later");
    assert_string_equal(e.where, "");
}

static void test_null_is_allowed(void **state)
{
    (void)state;
    assert_int_equal(err_set(NULL, ERR_FULL, "x"), ERR_FULL);
    assert_int_equal(err_set_at(NULL, ERR_DENIED, NULL, "x"), ERR_DENIED);
    assert_int_equal(err_wrap(NULL, "x"), ERR_INTERNAL);
    struct err e;
    err_set_at(&e, ERR_DENIED, NULL, "x");
    assert_string_equal(e.where, "");
}

static void test_wrap(void **state)
{
    (void)state;
    struct err e;
    err_set_at(&e, ERR_UNAVAILABLE, "here", "refused");
    assert_int_equal(err_wrap(&e, "connect %s", "10.0.0.7:6379"), ERR_UNAVAILABLE);
    assert_string_equal(e.text, "connect 10.0.0.7:6379: refused");
    assert_string_equal(e.where, "here");
    for (int i = 0; i < 50; i++) assert_int_equal(err_wrap(&e, "again and again"), ERR_UNAVAILABLE);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    char *mine = e.text;
    assert_int_equal(err_wrap(&e, "%s", mine), ERR_UNAVAILABLE); /* its own text as context */
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
}

/* A text is cut to its field, and never in the middle of a character, wherever the cut falls. */
static void test_cut(void **state)
{
    (void)state;
    char long_text[600];
    struct err e;
    for (size_t shift = 0; shift < 8; shift++) {
        memset(long_text, 'a', shift);
        for (size_t i = shift; i + 4 < sizeof long_text; i += 4)
            memcpy(long_text + i, "\xF0\x9F\x90\x9D", 4);
        long_text[596] = '\0';
        err_set_at(&e, ERR_INVALID, long_text, "%s", long_text);
        assert_int_equal((strlen(e.text) - shift) % 4, 0);
        assert_true(strlen(e.text) > sizeof e.text - 5);
        assert_int_equal((strlen(e.where) - shift) % 4, 0);
        assert_true(strlen(e.where) > sizeof e.where - 5);
    }
    char exact[256];
    memset(exact, 'x', 255);
    exact[255] = '\0';
    err_set(&e, ERR_INVALID, "%s", exact);
    assert_string_equal(e.text, exact);
}

static void test_names_and_classes(void **state)
{
    (void)state;
    assert_string_equal(err_name(ERR_OK), "ok");
    assert_string_equal(err_name(ERR_TOO_LARGE), "too_large");
    assert_string_equal(err_name(ERR_INTERNAL), "internal");
    for (int c = ERR_OK; c <= ERR_INTERNAL; c++)
        assert_true(strlen(err_name((enum err_code)c)) > 0);
    assert_int_equal(err_class_of(ERR_INVALID), ERR_CLASS_CALLER);
    assert_int_equal(err_class_of(ERR_TOO_LARGE), ERR_CLASS_CALLER);
    assert_int_equal(err_class_of(ERR_NOT_FOUND), ERR_CLASS_CALLER);
    assert_int_equal(err_class_of(ERR_CONFLICT), ERR_CLASS_CALLER);
    assert_int_equal(err_class_of(ERR_NOMEM), ERR_CLASS_TEMPORARY);
    assert_int_equal(err_class_of(ERR_FULL), ERR_CLASS_TEMPORARY);
    assert_int_equal(err_class_of(ERR_TIMEOUT), ERR_CLASS_TEMPORARY);
    assert_int_equal(err_class_of(ERR_UNAVAILABLE), ERR_CLASS_TEMPORARY);
    assert_int_equal(err_class_of(ERR_PROTOCOL), ERR_CLASS_TEMPORARY);
    assert_int_equal(err_class_of(ERR_CLOSED), ERR_CLASS_TEMPORARY);
    assert_int_equal(err_class_of(ERR_DENIED), ERR_CLASS_PERMANENT);
    assert_int_equal(err_class_of(ERR_INTERNAL), ERR_CLASS_INTERNAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_null_is_allowed),
        cmocka_unit_test(test_wrap),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_names_and_classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
