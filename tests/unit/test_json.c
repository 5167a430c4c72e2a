/* JSON: the golden folders (tests/golden/json: valid/NAME/input, invalid/NAME/{input,error}; a new
 * case is a new folder), the scanner's limits and costs, raw access, trees, and the writer.
 *
 * `error` holds three lines: the code's name, the JSON pointer, the sentence. Run from the
 * checkout's root. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>

#include "common/base/json.h"
#include "common/base/rng.h"
#include "common/base/utf8.h"

static const struct json_limits limits = {.bytes_max = 8192, .depth_max = 32, .nodes_max = 1000};
static const struct json_limits wide = {
    .bytes_max = 64 << 20, .depth_max = 200, .nodes_max = 10000000};

enum { FILE_MAX = 16384 };

static struct view read_file(const char *folder, const char *name, const char *file, char *bytes)
{
    char path[512];
    snprintf(path, sizeof path, "tests/golden/json/%s/%s/%s", folder, name, file);
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("cannot read %s", path);
    size_t len = f ? fread(bytes, 1, FILE_MAX, f) : 0;
    fclose(f);
    return view_make(bytes, len);
}

/* Copies into a heap block of exactly its size, so that ASan sees a read of one byte too many. */
static struct view exact_copy(struct view text)
{
    char *copy = malloc(text.len ? text.len : 1);
    assert_non_null(copy);
    if (text.len) memcpy(copy, text.ptr, text.len);
    return view_make(copy, text.len);
}

static enum err_code check_exact(struct view text, struct err *err)
{
    struct view copy = exact_copy(text);
    enum err_code code = json_check(copy, &limits, err);
    free((void *)(uintptr_t)copy.ptr);
    return code;
}

static void check_valid(struct view text)
{
    struct err err = {.code = ERR_OK};
    if (check_exact(text, &err) != ERR_OK) fail_msg("%s at %s", err.text, err.where);
    json_t *tree = NULL;
    assert_int_equal(json_load(text, &limits, &tree, &err), ERR_OK); /* what is checked loads */
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_true(json_put(&out, tree));
    json_t *again = NULL;
    assert_int_equal(json_load(buf_view(&out), &wide, &again, &err), ERR_OK);
    assert_true(json_equal(tree, again));
    json_decref(tree);
    json_decref(again);
    buf_fini(&out);
}

static void check_invalid(struct view text, struct view want)
{
    struct err err = {.code = ERR_OK};
    char got[512];
    enum err_code code = check_exact(text, &err);
    assert_int_equal(code, err.code);
    assert_int_equal(json_check(text, &limits, NULL), code);
    snprintf(got, sizeof got, "%s\n%s\n%s\n", err_name(code), err.where, err.text);
    if (!view_eq_str(want, got)) fail_msg("got %s instead of %.*s", got, (int)want.len, want.ptr);
    json_t *tree = NULL;
    assert_int_equal(json_load(text, &limits, &tree, NULL), code);
    assert_null(tree);
}

static unsigned each_golden(const char *folder)
{
    static char input[FILE_MAX], error[FILE_MAX];
    char path[256];
    unsigned count = 0;
    snprintf(path, sizeof path, "tests/golden/json/%s", folder);
    DIR *dir = opendir(path);
    if (!dir) fail_msg("run from the checkout's root: no %s", path);
    for (struct dirent *d; dir && (d = readdir(dir));) {
        if (d->d_name[0] == '.') continue;
        struct view text = read_file(folder, d->d_name, "input", input);
        if (strcmp(folder, "valid") == 0)
            check_valid(text);
        else
            check_invalid(text, read_file(folder, d->d_name, "error", error));
        count++;
    }
    closedir(dir);
    return count;
}

static void test_golden(void **state)
{
    (void)state;
    assert_true(each_golden("valid") >= 15);
    assert_true(each_golden("invalid") >= 40);
}

/* No beginning of a text is a text, and none is read past its end. */
static void test_every_cut(void **state)
{
    (void)state;
    static const char text[] =
        "{\"a\":[1,-2.5e+3,true,false,null,\"\\u00e9\\ud83d\\udc1d \xE2\x82\xAC\"],"
        "\"b\":{\"c\":{},\"d\":[],\"\\u0065\":\"x\"}}";
    assert_int_equal(check_exact(VIEW_LIT(text), NULL), ERR_OK);
    for (size_t len = 0; len < sizeof text - 1; len++) {
        struct err err;
        assert_int_equal(check_exact(view_make(text, len), &err), ERR_INVALID);
        struct view copy = exact_copy(view_make(text, len)), value = VIEW_NONE, key;
        size_t cursor =
            0; /* and raw access stays inside even where json_check would have refused */
        json_raw_member(copy, VIEW_LIT("nothing"), &value);
        while (json_raw_each(copy, &cursor, &key, &value)) assert_true(value.len <= len);
        free((void *)(uintptr_t)copy.ptr);
    }
}

/* One changed byte: json_check and jansson agree, but for the rules that only we have. */
static void test_mutations_against_jansson(void **state)
{
    (void)state;
    static const char text[] =
        "{\"ab\":[1,-2.5e+3,true,null,\"\\u00e9\\n\xC3\xA9\"],\"c\":{\"d\":0}}";
    struct rng rng;
    rng_seed(&rng, 8);
    char bytes[sizeof text];
    unsigned agreed = 0;
    for (int i = 0; i < 60000; i++) {
        memcpy(bytes, text, sizeof text);
        for (uint64_t n = 1 + rng_below(&rng, 2); n; n--)
            bytes[rng_below(&rng, sizeof text - 1)] =
                (char)(rng_below(&rng, 3) ? (uint64_t)text[rng_below(&rng, sizeof text - 1)]
                                          : rng_next(&rng));
        struct view v = view_make(bytes, sizeof text - 1);
        json_error_t why;
        struct err err = {.text = ""};
        json_t *theirs = json_loadb(v.ptr, v.len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &why);
        enum err_code ours = json_check(v, &limits, &err);
        if ((ours == ERR_OK) != (theirs != NULL))
            fail_msg("%s: %.*s (%s)", why.text, (int)v.len, v.ptr, err.text);
        agreed += theirs != NULL;
        json_decref(theirs);
    }
    assert_true(agreed > 1000);
}

static void test_limits(void **state)
{
    (void)state;
    const struct json_limits tight = {.bytes_max = 10, .depth_max = 2, .nodes_max = 3};
    struct err err;
    assert_int_equal(json_check(VIEW_LIT("\"12345678\""), &tight, &err), ERR_OK);
    assert_int_equal(json_check(VIEW_LIT("\"123456789\""), &tight, &err), ERR_TOO_LARGE);
    assert_int_equal(json_check(VIEW_LIT("[[1]]"), &tight, &err), ERR_OK);
    assert_int_equal(json_check(VIEW_LIT("[[[]]]"), &tight, &err), ERR_TOO_LARGE);
    assert_string_equal(err.where, "/0/0");
    assert_int_equal(json_check(VIEW_LIT("[1,2]"), &tight, &err), ERR_OK);
    assert_int_equal(json_check(VIEW_LIT("[1,2,3]"), &tight, &err), ERR_TOO_LARGE);
    assert_string_equal(err.where, "/2");
    const struct json_limits flat = {.bytes_max = 10, .depth_max = 0, .nodes_max = 3};
    assert_int_equal(json_check(VIEW_LIT("1"), &flat, &err), ERR_OK);
    assert_int_equal(json_check(VIEW_LIT("[]"), &flat, &err), ERR_TOO_LARGE);
    char deep[2 * JSON_DEPTH_MAX + 2];
    const struct json_limits any = {
        .bytes_max = SIZE_MAX, .depth_max = 1000000, .nodes_max = SIZE_MAX};
    memset(deep, '[', JSON_DEPTH_MAX + 1);
    memset(deep + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
    assert_int_equal(json_check(view_make(deep, sizeof deep), &any, &err), ERR_TOO_LARGE);
    assert_int_equal(json_check(view_make(deep + 1, sizeof deep - 2), &any, &err), ERR_OK);
}

static double seconds_of(struct view text, enum err_code want)
{
    struct timespec a, b;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    assert_int_equal(json_check(text, &wide, NULL), want);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    return (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
}

/* 200,000 keys, plain or escaped: linear, and the one duplicate is found. */
static void test_many_keys_are_not_quadratic(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 16 << 20);
    for (int escaped = 0; escaped < 2; escaped++) {
        buf_reset(&b);
        buf_put_char(&b, '{');
        for (unsigned i = 0; i < 200000; i++)
            buf_printf(&b, "%s\"%sk%u\":0", i ? "," : "", escaped ? "\\u0061" : "a", i);
        size_t len = b.len;
        buf_put_char(&b, '}');
        assert_true(seconds_of(buf_view(&b), ERR_OK) < 2.0); /* pairwise would take minutes */
        b.len = len;
        buf_put_str(&b, ",\"ak77\":1}");
        struct err err;
        assert_int_equal(json_check(buf_view(&b), &wide, &err), ERR_INVALID);
        assert_string_equal(err.where, "/ak77");
    }
    buf_fini(&b);
}

/* The pairwise check, the table, and the border between them, for every place of the duplicate. */
static void test_duplicates_at_every_place(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4096);
    for (unsigned count = 2; count < 40; count++) {
        for (unsigned first = 0; first < count - 1; first++) {
            buf_reset(&b);
            buf_put_str(&b, "{\"x\":{\"k0\":{\"k0\":1}},\"o\":{");
            for (unsigned i = 0; i < count - 1; i++) buf_printf(&b, "\"k%u\":{\"k%u\":[]},", i, i);
            struct err err;
            buf_printf(&b, "\"%s%u\":0}}", first % 2 ? "\\u006b" : "k", first);
            assert_int_equal(json_check(buf_view(&b), &limits, &err), ERR_INVALID);
            char where[32];
            snprintf(where, sizeof where, "/o/k%u", first);
            assert_string_equal(err.where, where);
        }
    }
    buf_fini(&b);
}

/* Counts through the sanitizer's hooks; a build without it has none and skips. */
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
                                              void (*on_free)(const volatile void *))
    __attribute__((weak));

static unsigned allocations; /* the hook has no argument to carry it */

static void count_malloc(const volatile void *p, size_t size)
{
    (void)p, (void)size;
    allocations++;
}

static void count_free(const volatile void *p)
{
    (void)p;
}

static void test_allocations(void **state)
{
    (void)state;
    if (!__sanitizer_install_malloc_and_free_hooks) skip();
    static const char body[] =
        "{\"workflow\":\"onboard\",\"input\":{\"url\":\"https://a.example\",\"tags\":[\"x\",\"y\"],"
        "\"n\":[1,2.5,true,null]},\"class\":\"bulk\",\"metadata\":{\"a\":\"b\"},\"key\":\"k-1\"}";
    struct view found;
    assert_true(__sanitizer_install_malloc_and_free_hooks(count_malloc, count_free) > 0);
    allocations = 0;
    assert_int_equal(json_check(VIEW_LIT(body), &limits, NULL), ERR_OK);
    assert_true(json_raw_member(VIEW_LIT(body), VIEW_LIT("key"), &found));
    assert_int_equal(allocations, 0);
    struct buf b;
    buf_init(&b, 65536);
    buf_put_char(&b, '{');
    for (int i = 0; i < 1000; i++) buf_printf(&b, "%s\"\\u0061%d\":1", i ? "," : "", i);
    buf_put_char(&b, '}');
    allocations = 0;
    assert_int_equal(json_check(buf_view(&b), &wide, NULL), ERR_OK);
    assert_true(allocations < 1100); /* under ASan each decoded key is its own block */
    buf_fini(&b);
}

static struct view raw(const char *text, const char *key)
{
    struct view v = VIEW_NONE;
    json_raw_member(view_of(text), view_of(key), &v);
    return v;
}

static void test_raw_access(void **state)
{
    (void)state;
    static const char text[] = " { \"a\" : 1.0 , \"s\":\"}\\\"]\", \"o\":{\"a\":[{}, [] ] } "
                               ",\"\\u00e9/\\\"\":true,\"\":null,"
                               "\"n\":-1e5}";
    assert_true(view_eq_str(raw(text, "a"), "1.0"));
    assert_true(view_eq_str(raw(text, "s"), "\"}\\\"]\""));
    assert_true(view_eq_str(raw(text, "o"), "{\"a\":[{}, [] ] }"));
    assert_true(view_eq_str(raw(text, "\xC3\xA9/\""), "true"));
    assert_true(view_eq_str(raw(text, ""), "null"));
    assert_true(view_eq_str(raw(text, "n"), "-1e5"));
    assert_null(raw(text, "b").ptr);
    assert_null(raw(text, "\\u00e9/\\\"").ptr);
    assert_null(raw("[1]", "a").ptr);
    assert_null(raw("3", "a").ptr);
    assert_int_equal(json_raw_count(view_of(text)), 6);
    assert_int_equal(json_raw_count(VIEW_LIT("[]")), 0);
    assert_int_equal(json_raw_count(VIEW_LIT("{ }")), 0);
    assert_int_equal(json_raw_count(VIEW_LIT("7")), 0);
    assert_int_equal(json_raw_count(VIEW_NONE), 0);
    struct view array = VIEW_LIT(" [ 1 , [2,3] ,\"a,b\" ] "), v = VIEW_NONE;
    assert_int_equal(json_raw_count(array), 3);
    assert_true(json_raw_element(array, 1, &v) && view_eq_str(v, "[2,3]"));
    assert_true(json_raw_element(array, 2, &v) && view_eq_str(v, "\"a,b\""));
    assert_false(json_raw_element(array, 3, &v));
    assert_false(json_raw_element(view_of(text), 0, &v));
    assert_true(view_eq_str(v, "\"a,b\""));
}

static void test_raw_each(void **state)
{
    (void)state;
    size_t cursor = 0;
    struct view key, value;
    struct view text = VIEW_LIT("{\"a\\n\":1,\"b\":[{\"c\":2}]}");
    assert_true(json_raw_each(text, &cursor, &key, &value));
    assert_true(view_eq_str(key, "a\\n"));
    assert_true(view_eq_str(value, "1"));
    assert_true(json_raw_each(text, &cursor, &key, &value));
    assert_true(view_eq_str(key, "b"));
    assert_true(view_eq_str(value, "[{\"c\":2}]"));
    assert_false(json_raw_each(text, &cursor, &key, &value));
    assert_false(json_raw_each(text, &cursor, &key, &value));
    cursor = 0;
    assert_true(json_raw_each(VIEW_LIT("[5]"), &cursor, &key, &value));
    assert_null(key.ptr);
    assert_false(json_raw_each(VIEW_LIT("[5]"), &cursor, &key, &value));
    cursor = SIZE_MAX;
    assert_false(json_raw_each(VIEW_LIT("[5]"), &cursor, &key, &value));
}

static void test_raw_string_and_kind(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    assert_true(json_raw_string(VIEW_LIT("\"a\\u00e9\\ud83d\\udc1d\\\\\\/\\n\""), &b));
    assert_true(view_eq_str(buf_view(&b), "a\xC3\xA9\xF0\x9F\x90\x9D\\/\n"));
    assert_true(json_raw_string(VIEW_LIT(" \"more\" "), &b)); /* appended */
    assert_int_equal(b.len, 14);
    static const char *const bad[] = {"",        "\"",          "1",         "null",
                                      "\"\\x\"", "\"\\ud83d\"", "\"\\u00\"", "\"\\\""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(json_raw_string(view_of(bad[i]), &b));
        assert_int_equal(b.len, 14);
    }
    buf_fini(&b);
    buf_init(&b, 3);
    assert_false(json_raw_string(VIEW_LIT("\"four\""), &b));
    buf_fini(&b);
    assert_int_equal(json_raw_kind(VIEW_LIT(" {}")), JSON_RAW_OBJECT);
    assert_int_equal(json_raw_kind(VIEW_LIT("[")), JSON_RAW_ARRAY);
    assert_int_equal(json_raw_kind(VIEW_LIT("\"")), JSON_RAW_STRING);
    assert_int_equal(json_raw_kind(VIEW_LIT("-1")), JSON_RAW_NUMBER);
    assert_int_equal(json_raw_kind(VIEW_LIT("7")), JSON_RAW_NUMBER);
    assert_int_equal(json_raw_kind(VIEW_LIT("true")), JSON_RAW_TRUE);
    assert_int_equal(json_raw_kind(VIEW_LIT("false")), JSON_RAW_FALSE);
    assert_int_equal(json_raw_kind(VIEW_LIT("null")), JSON_RAW_NULL);
    assert_int_equal(json_raw_kind(VIEW_LIT("  ")), JSON_RAW_NONE);
    assert_int_equal(json_raw_kind(VIEW_NONE), JSON_RAW_NONE);
}

static void check_put(const char *text, const char *want)
{
    json_t *tree = NULL;
    struct buf b;
    buf_init(&b, 1 << 16);
    assert_int_equal(json_load(view_of(text), &limits, &tree, NULL), ERR_OK);
    assert_true(json_put(&b, tree));
    if (!view_eq_str(buf_view(&b), want)) fail_msg("%.*s is not %s", (int)b.len, b.data, want);
    json_decref(tree);
    buf_fini(&b);
}

static void test_trees(void **state)
{
    (void)state;
    check_put(" [ 0.1, 1.0, 100.0, 5e-324, 1e22, 0.30000000000000004, -0.0 ]",
              "[0.1,1.0,100.0,4.94065645841247e-324,1e+22,0.30000000000000004,-0.0]");
    check_put("[9223372036854775807,-9223372036854775808,9007199254740993]",
              "[9223372036854775807,-9223372036854775808,9007199254740993]");
    /* one large integer turns into a real; its neighbours and the digits in strings do not */
    check_put("[9223372036854775808,9007199254740993,\"\\\"9223372036854775808\",{"
              "\"9223372036854775808\":-9223372036854775809}]",
              "[9.223372036854776e+18,9007199254740993,\"\\\"9223372036854775808\","
              "{\"9223372036854775808\":-9.223372036854776e+18}]");
    check_put("18446744073709551616", "1.8446744073709552e+19");
    check_put("{\"b\":{},\"a\":[],\"c\":[true,false,null,\"\\u0007\\\"\xC3\xA9\"]}",
              "{\"b\":{},\"a\":[],\"c\":[true,false,null,\"\\u0007\\\"\xC3\xA9\"]}");
    json_t *tree = NULL;
    assert_int_equal(json_load(VIEW_LIT("{\"s\":\"x\",\"i\":-5,\"t\":true,\"f\":false,\"r\":1.5}"),
                               &limits, &tree, NULL),
                     ERR_OK);
    assert_string_equal(json_str(tree, "s", "no"), "x");
    assert_string_equal(json_str(tree, "i", "no"), "no");
    assert_null(json_str(tree, "absent", NULL));
    assert_int_equal(json_int(tree, "i", 9), -5);
    assert_int_equal(json_int(tree, "r", 9), 9);
    assert_true(json_bool(tree, "t", false));
    assert_false(json_bool(tree, "f", true));
    assert_true(json_bool(tree, "i", true));
    assert_string_equal(json_str(NULL, "s", "no"), "no");
    assert_int_equal(json_int(json_object_get(tree, "s"), "x", 4), 4);
    struct buf b;
    buf_init(&b, 5);
    assert_false(json_put(&b, tree));
    buf_fini(&b);
    json_decref(tree);
}

static void test_writer(void **state)
{
    (void)state;
    struct buf b;
    struct jw w;
    buf_init(&b, 4096);
    jw_init(&w, &b);
    jw_object(&w);
    jw_kcstr(&w, "type", "job.started");
    jw_kstr(&w, "text", VIEW_LIT("a\"b\\c\n\r\t\b\f\x01\x7f\xC3\xA9\xff\xC3"));
    jw_kstr(&w, "nul", VIEW_LIT("x\0y"));
    jw_kstr(&w, "none", VIEW_NONE);
    jw_kcstr(&w, "null", NULL);
    jw_kint(&w, "min", INT64_MIN);
    jw_kbool(&w, "no", false);
    jw_ktime(&w, "at", 1795553743123);
    jw_ktime(&w, "never", -1);
    jw_kraw(&w, "raw", VIEW_LIT("{\"x\":[]}"));
    jw_kraw(&w, "absent", VIEW_NONE);
    jw_key_view(&w, VIEW_LIT("l\"ist"));
    jw_array(&w);
    jw_real(&w, 0.1);
    jw_real(&w, 3);
    jw_real(&w, 1e300 * 1e300);
    jw_object(&w);
    jw_end_object(&w);
    jw_array(&w);
    jw_end_array(&w);
    jw_null(&w);
    jw_int(&w, 1);
    jw_end_array(&w);
    jw_end_object(&w);
    static const char want[] =
        "{\"type\":\"job.started\",\"text\":"
        "\"a\\\"b\\\\c\\n\\r\\t\\b\\f\\u0001\x7f\xC3\xA9\xEF\xBF\xBD\xEF\xBF\xBD\","
        "\"nul\":\"x\xEF\xBF\xBDy\",\"none\":null,\"null\":null,\"min\":-9223372036854775808,"
        "\"no\":false,"
        "\"at\":\"2026-11-24T20:55:43.123Z\",\"never\":null,\"raw\":{\"x\":[]},\"absent\":null,"
        "\"l\\\"ist\":[0.1,3.0,null,{},[],null,1]}";
    if (!view_eq_str(buf_view(&b), want)) fail_msg("%.*s", (int)b.len, b.data);
    assert_int_equal(json_check(buf_view(&b), &limits, NULL), ERR_OK);
    buf_fini(&b);
}

/* Any bytes as a string: what is written is accepted, and comes back as it was where it was UTF-8.
 */
static void test_writer_any_bytes(void **state)
{
    (void)state;
    struct rng rng;
    struct buf b, back;
    struct jw w;
    char bytes[40];
    rng_seed(&rng, 9);
    buf_init(&b, 4096);
    buf_init(&back, 4096);
    for (int i = 0; i < 20000; i++) {
        size_t len = rng_below(&rng, sizeof bytes);
        bool ascii = rng_below(&rng, 2);
        for (size_t k = 0; k < len; k++)
            bytes[k] = (char)(ascii ? 1 + rng_below(&rng, 127) : rng_next(&rng));
        buf_reset(&b);
        buf_reset(&back);
        jw_init(&w, &b);
        jw_str(&w, view_make(bytes, len));
        assert_int_equal(json_check(buf_view(&b), &limits, NULL), ERR_OK);
        assert_true(json_raw_string(buf_view(&b), &back));
        if (ascii) assert_true(view_eq(buf_view(&back), view_make(bytes, len)));
    }
    buf_fini(&b);
    buf_fini(&back);
}

/* Our own UTF-8 rule against the table of the Unicode standard, for every sequence of up to three
 * bytes. */
static void test_utf8(void **state)
{
    (void)state;
    unsigned ones = 0, twos = 0, threes = 0;
    for (unsigned x = 0; x < 1u << 24; x++) {
        const char p[3] = {(char)(x >> 16), (char)(x >> 8), (char)x};
        unsigned n = utf8_length(p, p + 3);
        ones += n == 1 && (x & 0xffff) == 0;
        twos += n == 2 && (x & 0xff) == 0;
        threes += n == 3;
    }
    assert_int_equal(ones, 0x80);
    assert_int_equal(twos, 0x800 - 0x80);
    assert_int_equal(threes, 0x10000 - 0x800 - 0x800);
    char out[4];
    for (uint32_t c = 1; c < 0x110000; c++) {
        if (c >= 0xD800 && c <= 0xDFFF) continue;
        unsigned n = utf8_encode(c, out);
        assert_int_equal(utf8_length(out, out + n), n);
        assert_int_equal(utf8_length(out, out + n - 1), 0);
    }
    assert_int_equal(utf8_length("\xF4\x90\x80\x80", "\xF4\x90\x80\x80" + 4), 0);
    assert_int_equal(utf8_length("\xF0\x8F\xBF\xBF", "\xF0\x8F\xBF\xBF" + 4), 0);
    assert_int_equal(utf8_length("\xF5\x80\x80\x80", "\xF5\x80\x80\x80" + 4), 0);
}

/* The eight-at-a-time skip stops exactly where the slow one would, for every byte in every place.
 */
static void test_skip_plain(void **state)
{
    (void)state;
    for (unsigned c = 0; c < 256; c++) {
        bool plain = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
        for (size_t len = 1; len < 20; len++) {
            for (size_t at = 0; at < len; at++) {
                char text[20];
                memset(text, 'x', len);
                text[at] = (char)c;
                if (at + 1 < len) text[at + 1] = (char)(c % 2 ? 0x1f : '#');
                size_t want = !plain ? at : at + 1 < len && c % 2 ? at + 1 : len;
                assert_int_equal(utf8_skip_plain(text, text + len) - text, want);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_mutations_against_jansson),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_many_keys_are_not_quadratic),
        cmocka_unit_test(test_duplicates_at_every_place),
        cmocka_unit_test(test_raw_access),
        cmocka_unit_test(test_raw_each),
        cmocka_unit_test(test_raw_string_and_kind),
        cmocka_unit_test(test_trees),
        cmocka_unit_test(test_writer),
        cmocka_unit_test(test_writer_any_bytes),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_skip_plain),
        cmocka_unit_test(test_allocations), /* last: the hook stays */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
