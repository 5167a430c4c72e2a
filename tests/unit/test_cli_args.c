/* The command line: what is understood, and that what is not gets a sentence that helps. */
#include "producer/cli_help.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define JOB "0190a1b2-c3d4-7001-8000-0123456789ab"
enum { WORDS_MAX = 24 };

static enum err_code parse(const char *line, struct cli_args *ret, struct err *err)
{
    /* The values that are kept point into the words: they live as long as the test's process. */
    static char texts[64][512];
    static size_t turn;
    char *words[WORDS_MAX], *text = texts[turn++ % 64];
    size_t count = 0;

    assert_true(strlen(line) < sizeof texts[0]);
    memcpy(text, line, strlen(line) + 1);
    for (char *p = text; *p;) {
        while (*p == ' ') *p++ = '\0';
        if (!*p) break;
        assert_true(count < WORDS_MAX);
        words[count++] = p;
        while (*p && *p != ' ') p++;
    }
    return cli_args_parse(words, count, ret, err);
}

static struct cli_args good(const char *line)
{
    struct cli_args a;
    struct err err = {.code = ERR_OK};

    if (parse(line, &a, &err) != ERR_OK) fail_msg("%s: %s", line, err.text);
    return a;
}

static void bad(const char *line, const char *text)
{
    struct cli_args a;
    struct err err = {.code = ERR_OK};

    if (parse(line, &a, &err) != ERR_INVALID) fail_msg("%s: was accepted", line);
    if (!strstr(err.text, text)) fail_msg("%s: '%s' instead of '%s'", line, err.text, text);
}

static void test_submit(void **state)
{
    (void)state;
    struct cli_args a =
        good("submit hello --input {\"a\":1} --version=3 --class bulk --key k --deadline 10m "
             "--run-at=1h "
             "--metadata @m.json --priority 0 --idempotency-key i --watch --json --url http://x "
             "--key-file f");

    assert_int_equal(a.command, CLI_SUBMIT);
    assert_string_equal(a.operand, "hello");
    assert_string_equal(a.option[CLI_OPT_INPUT], "{\"a\":1}");
    assert_string_equal(a.option[CLI_OPT_VERSION], "3");
    assert_string_equal(a.option[CLI_OPT_CLASS], "bulk");
    assert_string_equal(a.option[CLI_OPT_KEY], "k");
    assert_string_equal(a.option[CLI_OPT_PRIORITY], "0");
    bad("submit hello --priority 10", "must be 0 to 9");
    bad("submit hello --priority high", "must be 0 to 9");
    bad("submit - --priority 3", "put --priority into it");
    assert_string_equal(a.option[CLI_OPT_DEADLINE], "10m");
    assert_string_equal(a.option[CLI_OPT_RUN_AT], "1h");
    assert_string_equal(a.option[CLI_OPT_METADATA], "@m.json");
    assert_string_equal(a.option[CLI_OPT_IDEMPOTENCY_KEY], "i");
    assert_string_equal(a.option[CLI_OPT_URL], "http://x");
    assert_string_equal(a.option[CLI_OPT_KEY_FILE], "f");
    assert_non_null(a.option[CLI_OPT_WATCH]);
    assert_non_null(a.option[CLI_OPT_JSON]);
    assert_null(a.option[CLI_OPT_STATUS]);

    a = good("submit --input - hello");
    assert_string_equal(a.option[CLI_OPT_INPUT], "-");
    assert_string_equal(a.operand, "hello");
    a = good("submit - --watch");
    assert_string_equal(a.operand, "-");
    a = good("submit -- --odd");
    assert_string_equal(a.operand, "--odd");
    bad("submit", "needs the name of a workflow");
    bad("submit a b", "what is b for?");
    bad("submit - --input {}", "put --input into it");
    bad("submit - --class bulk", "put --class into it");
    bad("submit a --input - --metadata -", "only one of");
    bad("submit a --class slow", "interactive or bulk");
    bad("submit a --version 0", "a positive integer");
    bad("submit a --version -1", "a positive integer");
    bad("submit a --version 1.5", "a positive integer");
    bad("submit a --input", "--input needs a value");
    bad("submit a --input --watch", "--input needs a value");
    bad("submit a --key=", "must be something");
    bad("submit a --watch=1", "takes no value");
    bad("submit a --watch --watch", "stands twice");
    bad("submit a --inputs {}", "did you mean --input?");
    bad("submit a --status failed", "submit has no option --status");
    bad("submit a -x", "submit has no option -x");
}

static void test_jobs(void **state)
{
    (void)state;
    const char *names[] = {"watch", "get", "cancel", "retry"};
    const enum cli_command commands[] = {CLI_WATCH, CLI_GET, CLI_CANCEL, CLI_RETRY};

    for (size_t i = 0; i < 4; i++) {
        char line[128];
        snprintf(line, sizeof line, "%s " JOB, names[i]);
        struct cli_args a = good(line);
        assert_int_equal(a.command, commands[i]);
        assert_string_equal(a.operand, JOB);
        snprintf(line, sizeof line, "%s ../v1/fleet", names[i]);
        bad(line, "is not a job id");
        bad(names[i], "needs a job id");
    }
    assert_non_null(good("retry " JOB " --watch").option[CLI_OPT_WATCH]);
    assert_string_equal(
        good("watch " JOB " --after 0000000000000000-0000000001").option[CLI_OPT_AFTER],
        "0000000000000000-0000000001");
    bad("watch " JOB " --after \xc3\xa4", "the id of an event");
    bad("get " JOB " --watch", "get has no option --watch");
}

static void test_list_key_doctor(void **state)
{
    (void)state;
    struct cli_args a = good("list --status failed --workflow w --limit 5 --after abc");

    assert_int_equal(a.command, CLI_LIST);
    assert_string_equal(a.option[CLI_OPT_AFTER], "abc");
    bad("list --status done", "queued, running");
    bad("list --limit many", "a positive integer");
    bad("list me", "what is me for?");
    a = good("key new --tenant acme --scopes submit,admin");
    assert_int_equal(a.command, CLI_KEY_NEW);
    bad("key", "key new");
    bad("key old", "key new");
    bad("key new --tenant ACME", "a-z");
    bad("key new --scopes read,write", "submit, read and admin");
    bad("key new --scopes read,", "submit, read and admin");
    bad("key new --url http://x", "key new has no option --url");
    assert_int_equal(good("doctor --config sluice.yaml").command, CLI_DOCTOR);
    bad("doctor --confg x", "did you mean --config?");
}

static void test_words(void **state)
{
    (void)state;
    bad("", "a command is missing");
    bad("--url http://x", "a command is missing");
    bad("sumbit x", "did you mean submit?");
    bad("frobnicate", "no command frobnicate");
    const char *later[] = {"signal", "batch", "workflow", "test", "fleet", "drain", "rollout", "dlq"};
    for (size_t i = 0; i < sizeof later / sizeof *later; i++)
        bad(later[i], "is not available in this build");
    struct cli_args a = good("--url http://x --json list");
    assert_int_equal(a.command, CLI_LIST);
    assert_string_equal(a.option[CLI_OPT_URL], "http://x");
    assert_non_null(a.option[CLI_OPT_JSON]);
    bad("--config x list", "list has no option --config");
}

static void test_help(void **state)
{
    (void)state;
    assert_int_equal(good("--help").topic, CLI_HELP);
    assert_int_equal(good("-h").command, CLI_HELP);
    assert_int_equal(good("help").topic, CLI_HELP);
    for (int c = CLI_SUBMIT; c < CLI_COMMAND_COUNT; c++) {
        char line[64];
        snprintf(line, sizeof line, "help %s", cli_command_name((enum cli_command)c));
        struct cli_args a = good(line);
        assert_int_equal(a.command, CLI_HELP);
        assert_int_equal(a.topic, c);
        snprintf(line, sizeof line, "%s --help", cli_command_name((enum cli_command)c));
        a = good(line);
        assert_int_equal(a.command, CLI_HELP);
        assert_int_equal(a.topic, c);
        const char *page = cli_help((enum cli_command)c);
        snprintf(line, sizeof line, "sluice %s", cli_command_name((enum cli_command)c));
        assert_true(strncmp(page, line, strlen(line)) == 0);
        assert_non_null(strstr(cli_help(CLI_HELP), line));
    }
    bad("help rollout", "not available in this build");
    bad("help nothing", "no command nothing");
}

/* Every option of a command is on its page, and no line is wider than a terminal. */
static void test_help_names_every_option(void **state)
{
    static const struct {
        enum cli_command command;
        const char *names;
    } rows[] = {
        {CLI_SUBMIT, "--input --version --class --key --idempotency-key --deadline --run-at "
                     "--metadata --watch --json --url --key-file"},
        {CLI_WATCH, "--after --json --url --key-file"},
        {CLI_GET, "--json --url --key-file"},
        {CLI_LIST, "--status --workflow --limit --after --json --url"},
        {CLI_CANCEL, "--json --url"},
        {CLI_RETRY, "--watch --json --url"},
        {CLI_KEY_NEW, "--tenant --scopes"},
        {CLI_DOCTOR, "--config --url --key-file"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct view head, rest = view_of(rows[i].names);
        char name[32];
        while (view_cut(rest, ' ', &head, &rest) || (head = rest, rest = VIEW_NONE, head.ptr)) {
            assert_true(view_copy(head, name, sizeof name));
            if (!strstr(cli_help(rows[i].command), name))
                fail_msg("%s: no %s", cli_command_name(rows[i].command), name);
        }
    }
    for (int c = 0; c < CLI_COMMAND_COUNT; c++) {
        struct view head, rest = view_of(cli_help((enum cli_command)c));
        while (view_cut(rest, '\n', &head, &rest)) assert_in_range(head.len, 0, 120);
        assert_int_equal(rest.len, 0);
    }
}

static void test_limits_and_usage(void **state)
{
    (void)state;
    struct cli_args a = good("usage --by model --from 2026-11-01 --to 2026-11-30 --tenant acme --json");

    assert_int_equal(a.command, CLI_USAGE);
    assert_string_equal(a.option[CLI_OPT_BY], "model");
    a = good("limits --once --model fast");
    assert_int_equal(a.command, CLI_LIMITS);
    assert_string_equal(a.option[CLI_OPT_MODEL], "fast");
    bad("usage --by hour", "must be tenant, workflow, model or day");
    bad("usage --from 2026-13-01", "must be a date");
    bad("usage --to 2026-1-1", "must be a date");
    bad("limits --by model", "limits has no option --by");
    bad("limits x", "what is x for?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits_and_usage),
        cmocka_unit_test(test_submit),
        cmocka_unit_test(test_jobs),
        cmocka_unit_test(test_list_key_doctor),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_help_names_every_option),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
