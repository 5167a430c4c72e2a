/* The rough token counter against what two real tokenizers said of the same texts. */
#include "consumer/llm_count.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Tokens as counted by o200k (gpt-4o, gpt-5) and by Gemini's tokenizer. */
static const struct {
    const char *name, *text;
    int64_t o200k, gemini;
} samples[] = {
    {"arabic",
     "\xd9\x84\xd9\x83\xd9\x84 \xd9\x85\xd8\xb3\xd8\xaa\xd8\xa3\xd8\xac\xd8\xb1 "
     "\xd9\x82\xd8\xa7\xd8\xa6\xd9\x85\xd8\xa9 \xd8\xa7\xd9\x86\xd8\xaa"
     "\xd8\xb8\xd8\xa7\xd8\xb1 \xd8\xae\xd8\xa7\xd8\xb5\xd8\xa9 \xd8\xa8\xd9\x87. "
     "\xd9\x8a\xd8\xa3\xd8\xae\xd8\xb0 \xd8\xa7\xd9\x84"
     "\xd8\xb9\xd8\xa7\xd9\x85\xd9\x84 \xd8\xa7\xd9\x84\xd9\x85\xd9\x87\xd9\x85\xd8\xa9 "
     "\xd8\xa7\xd9\x84\xd8\xaa\xd8\xa7\xd9\x84\xd9\x8a\xd8\xa9 "
     "\xd9\x88\xd9\x8a\xd8\xb3\xd8\xa3\xd9\x84 "
     "\xd8\xa7\xd9\x84\xd9\x85\xd9\x8a\xd8\xb2\xd8\xa7\xd9\x86\xd9\x8a\xd8\xa9 "
     "\xd8\xb9\xd9\x85\xd8\xa7 "
     "\xd8\xa5\xd8\xb0\xd8\xa7 \xd9\x83\xd8\xa7\xd9\x86 "
     "\xd8\xa8\xd8\xa5\xd9\x85\xd9\x83\xd8\xa7\xd9\x86\xd9\x87 \xd8\xa7\xd9\x84\xd8\xa7\xd8\xaa"
     "\xd8\xb5\xd8\xa7\xd9\x84 \xd8\xa8\xd8\xa7\xd9\x84\xd9\x85\xd8\xb2\xd9\x88\xd8\xaf\xd8\x8c "
     "\xd9\x88\xd9\x8a\xd9\x86\xd8\xaa\xd8\xb8\xd8\xb1 "
     "\xd8\xa5\xd8\xb0\xd8\xa7 \xd9\x84\xd9\x85 \xd9\x8a\xd9\x83\xd9\x86 \xd8\xb0\xd9\x84\xd9\x83 "
     "\xd9\x85\xd9\x85\xd9\x83\xd9\x86\xd8\xa7"
     ".",
     42, 47},
    {"chinese",
     "\xe6\xaf\x8f\xe4\xb8\xaa\xe7\xa7\x9f\xe6\x88\xb7\xe9\x83\xbd\xe6\x9c\x89\xe8\x87\xaa\xe5\xb7"
     "\xb1\xe7\x9a\x84\xe9\x98\x9f\xe5\x88\x97\xe3\x80\x82\xe5\xb7\xa5\xe4\xbd\x9c\xe8\xbf\x9b\xe7"
     "\xa8\x8b\xe5\x8f\x96\xe5\x87\xba\xe4\xb8\x8b\xe4\xb8\x80"
     "\xe4\xb8\xaa\xe4\xbb\xbb\xe5\x8a\xa1,"
     "\xe8\xaf\xa2\xe9\x97\xae\xe9\xa2\x84\xe7\xae\x97\xe6\x98\xaf\xe5\x90\xa6\xe5\x8f\xaf\xe4\xbb"
     "\xa5\xe8\xb0\x83\xe7\x94\xa8\xe6\x8f\x90\xe4\xbe\x9b\xe5\x95\x86,\xe5\xa6\x82\xe6\x9e\x9c"
     "\xe4\xb8\x8d\xe5\x8f\xaf\xe4\xbb\xa5\xe5\xb0\xb1\xe7\xad\x89\xe5\xbe\x85\xe3\x80\x82\xe8\xbf"
     "\x9b\xe7\xa8\x8b\xe6\xad\xbb\xe4\xba\xa1\xe6\x97\xb6\xe4\xb8\x8d\xe4\xbc\x9a\xe4\xb8\xa2\xe5"
     "\xa4\xb1\xe4\xbb\xbb\xe4\xbd\x95\xe4\xb8\x9c\xe8\xa5\xbf"
     ":\xe5\x8f\xa6\xe4\xb8\x80\xe4\xb8\xaa\xe8\xbf\x9b\xe7\xa8\x8b\xe4\xbc\x9a\xe8\xaf\xbb\xe5\x8f"
     "\x96\xe6\x97\xa5\xe5\xbf\x97\xe5\xb9\xb6\xe4\xbb\x8e\xe6\x9c\x80\xe5\x90\x8e\xe4\xb8\x80\xe4"
     "\xb8\xaa\xe6\xa3\x80\xe6\x9f\xa5\xe7\x82\xb9"
     "\xe7\xbb\xa7\xe7\xbb\xad\xe3\x80\x82",
     59, 46},
    {"code",
     "static bool is_under"
     "(struct view url, co"
     "nst char *base)\n{\n  "
     "  size_t len = strle"
     "n(base);\n\n    return"
     " view_starts(url, ba"
     "se) && url.len > len"
     " && url.ptr[len] == "
     "'/';\n}\n",
     45, 57},
    {"english",
     "Every tenant has a q"
     "ueue of its own. A w"
     "orker takes the next"
     " job, asks the budge"
     "t whether it may cal"
     "l the provider, and "
     "waits when it may no"
     "t. Nothing is lost w"
     "hen the worker dies:"
     " another one reads t"
     "he log and goes on f"
     "rom the last checkpo"
     "int.",
     54, 54},
    {"german",
     "Jeder Mandant hat ei"
     "ne eigene Warteschla"
     "nge. Ein Arbeiter ni"
     "mmt den n\xc3\xa4"
     "chsten Auf"
     "trag, fragt das Budg"
     "et, ob er den Anbiet"
     "er rufen darf, und w"
     "artet, wenn er es ni"
     "cht darf. Nichts geh"
     "t verloren, wenn der"
     " Arbeiter stirbt.",
     52, 47},
    {"japanese",
     "\xe5\x90\x84\xe3\x83\x86\xe3\x83\x8a\xe3\x83\xb3\xe3\x83\x88\xe3\x81\xab\xe3\x81\xaf\xe5\xb0"
     "\x82\xe7\x94\xa8\xe3\x81\xae\xe3\x82\xad\xe3\x83\xa5\xe3\x83\xbc\xe3\x81\x8c\xe3\x81\x82\xe3"
     "\x82\x8a\xe3\x81\xbe\xe3\x81\x99\xe3\x80\x82\xe3\x83\xaf"
     "\xe3\x83\xbc\xe3\x82\xab\xe3\x83\xbc\xe3\x81\xaf\xe6\xac\xa1\xe3\x81\xae\xe3\x82\xb8\xe3\x83"
     "\xa7\xe3\x83\x96\xe3\x82\x92\xe5\x8f\x96\xe3\x82\x8a\xe5\x87\xba\xe3\x81\x97\xe3\x80\x81\xe3"
     "\x83\x97\xe3\x83\xad\xe3\x83\x90\xe3\x82\xa4\xe3\x83\x80"
     "\xe3\x83\xbc\xe3\x82\x92\xe5\x91\xbc\xe3\x81\xb3\xe5\x87\xba\xe3\x81\x97\xe3\x81\xa6\xe3\x82"
     "\x88\xe3\x81\x84\xe3\x81\x8b\xe3\x82\x92\xe4\xba\x88\xe7\xae\x97\xe3\x81\xab\xe7\xa2\xba\xe8"
     "\xaa\x8d\xe3\x81\x97\xe3\x80\x81\xe3\x81\xa0\xe3\x82\x81"
     "\xe3\x81\xaa\xe3\x82\x89\xe5\xbe\x85\xe3\x81\xa1\xe3\x81\xbe\xe3\x81\x99\xe3\x80\x82",
     50, 36},
    {"json",
     "{\"id\":\"job-17\",\"stat"
     "us\":\"running\",\"steps"
     "\":[{\"id\":\"crawl\",\"at"
     "tempt\":1,\"output\":{\""
     "pages\":20}},{\"id\":\"p"
     "rofile\",\"attempt\":2}"
     "],\"usage\":{\"input_to"
     "kens\":1200,\"output_t"
     "okens\":340}}",
     51, 59},
    {"russian",
     "\xd0\xa3 \xd0\xba\xd0\xb0\xd0\xb6\xd0\xb4\xd0\xbe\xd0\xb3\xd0\xbe "
     "\xd0\xba\xd0\xbb\xd0\xb8\xd0\xb5\xd0\xbd\xd1\x82\xd0\xb0 \xd1\x81\xd0\xb2"
     "\xd0\xbe\xd1\x8f \xd0\xbe\xd1\x87\xd0\xb5\xd1\x80\xd0\xb5\xd0\xb4\xd1\x8c. "
     "\xd0\xa0\xd0\xb0\xd0\xb1\xd0\xbe\xd1\x87\xd0\xb8\xd0\xb9 "
     "\xd0\xbf\xd1\x80\xd0\xbe\xd1\x86\xd0\xb5\xd1\x81\xd1\x81 "
     "\xd0\xb1\xd0\xb5\xd1\x80\xd1\x91\xd1\x82 \xd1\x81\xd0\xbb\xd0\xb5\xd0\xb4\xd1\x83\xd1\x8e"
     "\xd1\x89\xd0\xb5\xd0\xb5 \xd0\xb7\xd0\xb0\xd0\xb4\xd0\xb0\xd0\xbd\xd0\xb8\xd0\xb5, "
     "\xd1\x81\xd0\xbf\xd1\x80\xd0\xb0\xd1\x88\xd0\xb8\xd0\xb2"
     "\xd0\xb0\xd0\xb5\xd1\x82 \xd0\xb1\xd1\x8e\xd0\xb4\xd0\xb6\xd0\xb5\xd1\x82, "
     "\xd0\xbc\xd0\xbe\xd0\xb6\xd0\xbd\xd0\xbe \xd0\xbb\xd0\xb8"
     " \xd0\xbe\xd0\xb1\xd1\x80\xd0\xb0\xd1\x82\xd0\xb8\xd1\x82\xd1\x8c\xd1\x81\xd1\x8f \xd0\xba "
     "\xd0\xbf\xd1\x80\xd0\xbe\xd0\xb2\xd0\xb0\xd0\xb9"
     "\xd0\xb4\xd0\xb5\xd1\x80\xd1\x83, \xd0\xb8 \xd0\xb6\xd0\xb4\xd1\x91\xd1\x82, "
     "\xd0\xb5\xd1\x81\xd0\xbb\xd0\xb8 \xd0\xbd"
     "\xd0\xb5\xd0\xbb\xd1\x8c\xd0\xb7\xd1\x8f. \xd0\x9d\xd0\xb8\xd1\x87\xd0\xb5\xd0\xb3\xd0\xbe "
     "\xd0\xbd\xd0\xb5 \xd1\x82\xd0\xb5\xd1\x80"
     "\xd1\x8f\xd0\xb5\xd1\x82\xd1\x81\xd1\x8f, \xd0\xb5\xd1\x81\xd0\xbb\xd0\xb8 "
     "\xd0\xbf\xd1\x80\xd0\xbe\xd1\x86\xd0\xb5\xd1\x81\xd1\x81 "
     "\xd1\x83\xd0\xbc\xd0\xb8\xd1\x80\xd0\xb0\xd0\xb5\xd1\x82.",
     51, 45},
};

static void near_real_tokenizers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        int64_t n = llm_count_text(view_of(samples[i].text));
        int64_t mean = (samples[i].o200k + samples[i].gemini) / 2;

        if (n * 100 < mean * 80 || n * 100 > mean * 140)
            fail_msg("%s: %lld, really %lld and %lld", samples[i].name, (long long)n,
                     (long long)samples[i].o200k, (long long)samples[i].gemini);
    }
}

static void requests_are_read(void **state)
{
    int64_t hello = llm_count_text(VIEW_LIT("Say hello to the world")),
            brief = llm_count_text(VIEW_LIT("Be brief."));

    (void)state;
    assert_int_equal(
        llm_count_tokens(
            VIEW_LIT("{\"messages\":[{\"role\":\"user\",\"content\":\"Say hello to the world\"}],"
                     "\"max_tokens\":4000,\"temperature\":0.123456789}")),
        hello + 3 + 4);
    assert_in_range(
        llm_count_tokens(VIEW_LIT(
            "{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\","
            "\"content\":[{\"type\":\"text\",\"text\":\"Say hello to the world\"}]}]}")),
        hello + brief + 3 + 8 - 1, hello + brief + 3 + 8);
    assert_true(llm_count_tokens(VIEW_LIT("{\"messages\":[],\"response_format\":{\"type\":\"json_"
                                          "schema\",\"json_schema\":{\"schema\":{}}}}")) > 10);
    assert_int_equal(llm_count_tokens(VIEW_LIT("{}")), 3);
    assert_int_equal(llm_count_tokens(VIEW_LIT("Say hello to the world")), hello);
    assert_int_equal(llm_count_tokens(VIEW_NONE), 0);
}

/* A string is counted by what it says, not by how JSON spells it. */
static void escapes_cost_what_they_mean(void **state)
{
    (void)state;
    assert_int_equal(
        llm_count_tokens(VIEW_LIT("{\"messages\":[{\"content\":\"a\\n\\n\\u6771\\u4eac \\\"b\\\" "
                                  "\\ud83d\\ude80\"}]}")),
        llm_count_tokens(VIEW_LIT("{\"messages\":[{\"content\":\"a\n\n\xe6\x9d\xb1\xe4\xba\xac "
                                  "'b' \xf0\x9f\x9a\x80\"}]}")));
}

/* More text never costs less, and no byte costs nothing for long. */
static void grows_with_the_text(void **state)
{
    static const char *const units[] = {"word ",        "Word",     "x",    "7",
                                        "--",           "\n\n",     "    ", "\xc3\xa9",
                                        "\xe6\x9d\xb1", "\xd0\xb6", "\x80", "\xff\xfe"};
    char text[4096];

    (void)state;
    for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
        size_t len = strlen(units[u]);
        int64_t last = 0;

        for (size_t n = 1; n * len <= sizeof text; n++) {
            memcpy(text + (n - 1) * len, units[u], len);
            int64_t got = llm_count_text(view_make(text, n * len));

            assert_true(got >= last);
            assert_true(got <= (int64_t)(2 * n * len + 2));
            last = got;
        }
    }
}

/* Cut anywhere: no read beyond the end (ASan judges), no loop without an end. */
static void any_bytes_will_do(void **state)
{
    static const char text[] = "a\xe6\x9d\xb1\\u6771\\ud83d\\n\xf0\x9f\x9a\x80\xc3";

    (void)state;
    for (size_t from = 0; from < sizeof text; from++)
        for (size_t to = from; to < sizeof text; to++) {
            char *copy = malloc(to - from + 1);

            memcpy(copy, text + from, to - from);
            assert_true(llm_count_tokens(view_make(copy, to - from)) >= 0);
            assert_true(llm_count_text(view_make(copy, to - from)) >= 0);
            free(copy);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(near_real_tokenizers), cmocka_unit_test(requests_are_read),
        cmocka_unit_test(escapes_cost_what_they_mean), cmocka_unit_test(grows_with_the_text),
        cmocka_unit_test(any_bytes_will_do)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
