/* Job ids: every value here is pinned. A failure means that old ids would be read or made
 * differently: mend the code. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/id.h"

static const struct id_space small = {.partitions = 8, .lanes = 4};
static const struct id_space large = {.partitions = 4096, .lanes = 64};

static void test_home_is_pinned(void **state)
{
    (void)state;
    static const struct {
        struct id_space space;
        const char *tenant, *seed;
        uint32_t home;
    } pins[] = {
        {{8, 4}, "acme", "key-1", 6}, {{8, 4}, "acme", "key-2", 0},
        {{1, 1}, "acme", "x", 0},     {{4096, 4096}, "globex", "order 17", 2978},
        {{12, 5}, "", "", 4},         {{64, 8}, "acme", "key-1", 10},
    };
    for (size_t i = 0; i < sizeof pins / sizeof pins[0]; i++) {
        uint32_t home = id_home(pins[i].space, view_of(pins[i].tenant), view_of(pins[i].seed));
        assert_int_equal(home, pins[i].home);
    }
}

/* A tenant touches exactly k homes, evenly, and tenants spread over all of them. */
static void test_home_spreads(void **state)
{
    (void)state;
    const struct id_space space = {.partitions = 48, .lanes = 6};
    unsigned per_home[48] = {0}, tenants[48] = {0};
    for (uint32_t i = 0; i < 6000; i++) {
        char key[5] = {(char)('a' + i % 26), (char)('0' + i / 26 % 10), (char)(i >> 8), (char)i,
                       'x'};
        per_home[id_home(space, VIEW_LIT("acme"), view_make(key, 5))]++;
        tenants[id_home((struct id_space){48, 1}, view_make(key, 5), VIEW_LIT("k"))]++;
    }
    unsigned touched = 0;
    for (int i = 0; i < 48; i++) {
        touched += per_home[i] > 0;
        if (per_home[i]) assert_in_range(per_home[i], 850, 1150);
        assert_in_range(tenants[i], 80, 170);
    }
    assert_int_equal(touched, 6);
}

static void test_v7(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1);
    struct job_id id = id_new_v7(large, VIEW_LIT("acme"), 1795553743123, &rng), other;
    assert_string_equal(id.text, "01a20f57-d113-7fee-b089-02dc1077d1a1");
    assert_int_equal(id_partition(&id), 4078);
    assert_true(id_wall_ms(&id) == 1795553743123);
    assert_true(id_parse(view_of(id.text), &other));
    assert_string_equal(other.text, id.text);
    struct job_id next = id_new_v7(large, VIEW_LIT("acme"), 1795553743124, &rng);
    assert_true(strncmp(id.text, next.text, 13) < 0); /* sorts by time */
    for (int i = 0; i < 1000; i++) {
        id = id_new_v7(small, VIEW_LIT("globex"), i, &rng);
        assert_true(id_parse(view_of(id.text), &other));
        assert_true(id_partition(&id) < small.partitions);
        assert_int_equal(id_wall_ms(&id), i);
    }
    id = id_new_v7(small, VIEW_LIT("t"), ((int64_t)1 << 48) - 1, &rng);
    assert_true(id_wall_ms(&id) == ((int64_t)1 << 48) - 1);
}

/* A burst goes into one home; all of a tenant's homes get their share all the same. */
static void test_v7_keeps_bursts_together(void **state)
{
    (void)state;
    struct rng rng;
    unsigned per_home[8] = {0}, touched = 0, together = 0;
    rng_seed(&rng, 2);
    for (int64_t ms = 0; ms < 4000; ms++) {
        struct job_id first = id_new_v7(small, VIEW_LIT("acme"), ms, &rng);
        struct job_id second = id_new_v7(small, VIEW_LIT("acme"), ms, &rng);
        together += id_partition(&first) == id_partition(&second);
        per_home[id_partition(&first)]++;
        assert_string_not_equal(first.text, second.text);
    }
    for (int i = 0; i < 8; i++) {
        touched += per_home[i] > 0;
        if (per_home[i]) assert_in_range(per_home[i], 850, 1150);
    }
    assert_int_equal(touched, small.lanes);
    assert_in_range(together, 3990, 4000);
}

static void test_v8(void **state)
{
    (void)state;
    struct job_id id = id_new_v8(small, VIEW_LIT("acme"), VIEW_LIT("key-1")), other;
    assert_string_equal(id.text, "e9206254-1386-8006-bd4c-76d61c154430");
    assert_int_equal(id_partition(&id), 6);
    assert_int_equal(id_wall_ms(&id), -1);
    assert_true(id_parse(view_of(id.text), &other));
    id = id_new_v8(large, VIEW_LIT("globex"), VIEW_LIT("order 17"));
    assert_string_equal(id.text, "212034b0-d14d-84e2-af25-3f9cafa3be2e");
    other = id_new_v8(large, VIEW_LIT("globexo"), VIEW_LIT("rder 17"));
    assert_string_not_equal(id.text, other.text);
    id = id_new_derived(VIEW_LIT("0193606e-c0fb-7003-9d2b-3f0a5c7e9b11"), VIEW_LIT("profile"),
                        0xabc);
    assert_string_equal(id.text, "abdc206e-7c71-8abc-9272-fdfb6d0b89b5");
    assert_int_equal(id_partition(&id), 0xabc);
}

static void test_parse_is_strict(void **state)
{
    (void)state;
    static const char good[] = "01a20f57-d113-7fc6-b3f2-af6d0fc710c5";
    struct job_id id;
    assert_true(id_parse(view_of(good), &id));
    for (size_t at = 0; at < 36; at++) {
        for (int c = 0; c < 256; c++) {
            char text[37];
            memcpy(text, good, sizeof text);
            text[at] = (char)c;
            bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
            bool want = at == 8 || at == 13 || at == 18 || at == 23 ? c == '-'
                        : at == 14                                  ? c == '7' || c == '8'
                        : at == 19 ? c == '8' || c == '9' || c == 'a' || c == 'b'
                                   : hex;
            assert_int_equal(id_parse(view_make(text, 36), &id), want);
        }
    }
    for (size_t len = 0; len < 36; len++) assert_false(id_parse(view_make(good, len), &id));
    assert_false(id_parse(VIEW_LIT("01a20f57-d113-7fc6-b3f2-af6d0fc710c55"), &id));
    assert_false(id_parse(VIEW_LIT("01A20F57-D113-7FC6-B3F2-AF6D0FC710C5"), &id));
    assert_false(id_parse(VIEW_NONE, &id));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_home_is_pinned),
        cmocka_unit_test(test_home_spreads),
        cmocka_unit_test(test_v7),
        cmocka_unit_test(test_v7_keeps_bursts_together),
        cmocka_unit_test(test_v8),
        cmocka_unit_test(test_parse_is_strict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
