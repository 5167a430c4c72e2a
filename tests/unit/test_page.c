/* Positions in a list, and its filters. */
#include "gateway/page.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* clang-format off */
#include <cmocka.h>
/* clang-format on */

#define ID_A "01a20f90-bb1d-7001-9f75-12f927ebbb5a"
#define ID_B "01a20f90-bb1d-7001-9f75-12f927ebbb5b"

static struct page_position position(int64_t score, const char *id)
{
    struct page_position p = {.has = true, .score = score};
    assert_true(id_parse(view_of(id), &p.id));
    return p;
}

static void a_position_survives_the_client(void **state)
{
    (void)state;
    struct page_position p = position(1795553743123, ID_A), got;
    struct buf text;
    buf_init(&text, PAGE_TEXT_MAX);
    assert_true(page_position_put(&text, &p));
    assert_true(page_position_read(buf_view(&text), &got));
    assert_true(got.has);
    assert_int_equal(got.score, p.score);
    assert_string_equal(got.id.text, ID_A);
    for (size_t len = 0; len < text.len; len++)
        assert_false(page_position_read(view_make(text.data, len), &got));
    static const char *const bad[] = {"",         "x",    "cDEg",
                                      "cDEgMSAx", "!!!!", "cDIgMTc5NTU1NzQ2MTY0NCAwMWEyMGY5MA"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(page_position_read(view_of(bad[i]), &got));
    buf_fini(&text);
}

static void what_comes_after_is_older_or_a_lower_id(void **state)
{
    (void)state;
    struct page_position none = {.has = false}, at = position(100, ID_B);
    assert_true(page_is_after(&none, 5, VIEW_LIT(ID_A)));
    assert_true(page_is_after(&at, 99, VIEW_LIT(ID_B)));
    assert_true(page_is_after(&at, 100, VIEW_LIT(ID_A)));
    assert_false(page_is_after(&at, 100, VIEW_LIT(ID_B)));
    assert_false(page_is_after(&at, 101, VIEW_LIT(ID_A)));
}

static void filters(void **state)
{
    (void)state;
    struct page_filter all = {.status = -1}, failed = {.status = JOB_FAILED},
                       hello = {.status = -1, .workflow = "hello"};
    assert_true(page_passes(&all, VIEW_LIT("queued"), VIEW_LIT("hello@1")));
    assert_true(page_passes(&all, VIEW_LIT("queued"), VIEW_NONE));
    assert_true(page_passes(&failed, VIEW_LIT("failed"), VIEW_LIT("hello@1")));
    assert_false(page_passes(&failed, VIEW_LIT("running"), VIEW_LIT("hello@1")));
    assert_true(page_passes(&hello, VIEW_LIT("queued"), VIEW_LIT("hello@12")));
    assert_false(page_passes(&hello, VIEW_LIT("queued"), VIEW_LIT("hello2@1")));
    assert_false(page_passes(&hello, VIEW_LIT("queued"), VIEW_LIT("hello")));
    assert_false(page_passes(&hello, VIEW_LIT("queued"), VIEW_NONE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_position_survives_the_client),
        cmocka_unit_test(what_comes_after_is_older_or_a_lower_id),
        cmocka_unit_test(filters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
