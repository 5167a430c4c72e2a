/* Arguments.
 *
 * Two tables say everything: which commands there are and what stands behind them, and which
 * options there are, what value they take and whose they are. What is hard is only to be of help: a
 * word that is nearly a command, an option of another command, a value that was forgotten, each
 * gets its own sentence. Values that a server would judge (workflow names, deadlines) are left to
 * it; what would end up in a path (job ids) or as a bare number is checked here. */
#include "producer/cli_args.h"

#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/sse_in.h"
#include "schemas/job.h"
#include "schemas/suggest.h"
#include <assert.h>

enum operand { OPERAND_NONE, OPERAND_WORKFLOW, OPERAND_JOB, OPERAND_TOPIC };
enum value {
    VALUE_FLAG,
    VALUE_TEXT,
    VALUE_NUMBER,
    VALUE_PRIORITY,
    VALUE_CLASS,
    VALUE_STATUS,
    VALUE_EVENT,
    VALUE_TENANT,
    VALUE_SCOPES,
    VALUE_BY,
    VALUE_DATE
};

static const struct {
    const char *name;
    enum operand operand;
} commands[CLI_COMMAND_COUNT] = {
    [CLI_HELP] = {"help", OPERAND_TOPIC},    [CLI_SUBMIT] = {"submit", OPERAND_WORKFLOW},
    [CLI_WATCH] = {"watch", OPERAND_JOB},    [CLI_GET] = {"get", OPERAND_JOB},
    [CLI_LIST] = {"list", OPERAND_NONE},     [CLI_CANCEL] = {"cancel", OPERAND_JOB},
    [CLI_RETRY] = {"retry", OPERAND_JOB},    [CLI_KEY_NEW] = {"key new", OPERAND_NONE},
    [CLI_DOCTOR] = {"doctor", OPERAND_NONE}, [CLI_LIMITS] = {"limits", OPERAND_NONE},
    [CLI_USAGE] = {"usage", OPERAND_NONE},
};

static const char *const later_commands[] = {"signal", "batch", "workflow", "test",
                                             "fleet",  "drain", "rollout",  "dlq"};

#define OF(command) (1u << (command))
enum {
    OF_CALLS = OF(CLI_SUBMIT) | OF(CLI_WATCH) | OF(CLI_GET) | OF(CLI_LIST) | OF(CLI_CANCEL) |
               OF(CLI_RETRY) | OF(CLI_LIMITS) | OF(CLI_USAGE),
    OF_HTTP = OF_CALLS | OF(CLI_DOCTOR),
};

static const struct {
    const char *name;
    enum value value;
    unsigned commands;
} options[CLI_OPTION_COUNT] = {
    [CLI_OPT_URL] = {"--url", VALUE_TEXT, OF_HTTP},
    [CLI_OPT_KEY_FILE] = {"--key-file", VALUE_TEXT, OF_HTTP},
    [CLI_OPT_JSON] = {"--json", VALUE_FLAG, OF_CALLS},
    [CLI_OPT_INPUT] = {"--input", VALUE_TEXT, OF(CLI_SUBMIT)},
    [CLI_OPT_VERSION] = {"--version", VALUE_NUMBER, OF(CLI_SUBMIT)},
    [CLI_OPT_CLASS] = {"--class", VALUE_CLASS, OF(CLI_SUBMIT)},
    [CLI_OPT_KEY] = {"--key", VALUE_TEXT, OF(CLI_SUBMIT)},
    [CLI_OPT_PRIORITY] = {"--priority", VALUE_PRIORITY, OF(CLI_SUBMIT)},
    [CLI_OPT_IDEMPOTENCY_KEY] = {"--idempotency-key", VALUE_TEXT, OF(CLI_SUBMIT)},
    [CLI_OPT_DEADLINE] = {"--deadline", VALUE_TEXT, OF(CLI_SUBMIT)},
    [CLI_OPT_RUN_AT] = {"--run-at", VALUE_TEXT, OF(CLI_SUBMIT)},
    [CLI_OPT_METADATA] = {"--metadata", VALUE_TEXT, OF(CLI_SUBMIT)},
    [CLI_OPT_WATCH] = {"--watch", VALUE_FLAG, OF(CLI_SUBMIT) | OF(CLI_RETRY)},
    [CLI_OPT_AFTER] = {"--after", VALUE_TEXT, OF(CLI_WATCH) | OF(CLI_LIST)},
    [CLI_OPT_STATUS] = {"--status", VALUE_STATUS, OF(CLI_LIST)},
    [CLI_OPT_WORKFLOW] = {"--workflow", VALUE_TEXT, OF(CLI_LIST)},
    [CLI_OPT_LIMIT] = {"--limit", VALUE_NUMBER, OF(CLI_LIST)},
    [CLI_OPT_TENANT] = {"--tenant", VALUE_TENANT, OF(CLI_KEY_NEW) | OF(CLI_USAGE)},
    [CLI_OPT_SCOPES] = {"--scopes", VALUE_SCOPES, OF(CLI_KEY_NEW)},
    [CLI_OPT_CONFIG] = {"--config", VALUE_TEXT, OF(CLI_DOCTOR)},
    [CLI_OPT_BY] = {"--by", VALUE_BY, OF(CLI_USAGE)},
    [CLI_OPT_FROM] = {"--from", VALUE_DATE, OF(CLI_USAGE)},
    [CLI_OPT_TO] = {"--to", VALUE_DATE, OF(CLI_USAGE)},
    [CLI_OPT_MODEL] = {"--model", VALUE_TEXT, OF(CLI_LIMITS)},
    [CLI_OPT_ONCE] = {"--once", VALUE_FLAG, OF(CLI_LIMITS)},
};

struct args_reader { /* argv with a place in it */
    char *const *argv;
    size_t argc, at;
    bool past_options;
};

const char *cli_command_name(enum cli_command c)
{
    assert(c < CLI_COMMAND_COUNT);
    return commands[c].name;
}

/* --- values --- */

static bool args_is_scopes(struct view text)
{
    struct view head, rest = text;
    bool more = true;

    while (more) {
        more = view_cut(rest, ',', &head, &rest);
        if (!more) head = rest;
        if (!view_eq_str(head, "submit") && !view_eq_str(head, "read") &&
            !view_eq_str(head, "admin"))
            return false;
    }
    return true;
}

static bool args_is_tenant(struct view text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'))
            return false;
    }
    return text.len > 0 && text.len < 64;
}

/* Ids are opaque: only what no header could carry is refused. */
static bool args_is_event(struct view text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] <= ' ' || text.ptr[i] > '~') return false;
    return text.len > 0 && text.len < SSE_ID_MAX;
}

static bool args_is_by(struct view text)
{
    return view_eq_str(text, "tenant") || view_eq_str(text, "workflow") ||
           view_eq_str(text, "model") || view_eq_str(text, "day");
}

/* NULL: acceptable; else what it should have been. */
static const char *args_fault(enum value kind, struct view text)
{
    uint64_t n;
    enum job_class cls;
    enum job_status status;
    int64_t day;

    switch (kind) {
    case VALUE_FLAG:
    case VALUE_TEXT:
        return text.len > 0 || kind == VALUE_FLAG ? NULL : "something";
    case VALUE_NUMBER:
        return view_u64(text, &n) && n > 0 && n <= INT32_MAX ? NULL : "a positive integer";
    case VALUE_PRIORITY:
        return view_u64(text, &n) && n <= JOB_PRIORITY_MAX ? NULL : "0 to 9";
    case VALUE_CLASS:
        return job_class_parse(text, &cls) ? NULL : "interactive or bulk";
    case VALUE_STATUS:
        return job_status_parse(text, &status)
                   ? NULL
                   : "queued, running, waiting, succeeded, failed, canceled or expired";
    case VALUE_EVENT:
        return args_is_event(text) ? NULL : "the id of an event";
    case VALUE_TENANT:
        return args_is_tenant(text) ? NULL : "1 to 63 of a-z 0-9 _ -";
    case VALUE_SCOPES:
        return args_is_scopes(text) ? NULL
                                    : "a list of submit, read and admin, separated by commas";
    case VALUE_BY:
        return args_is_by(text) ? NULL : "tenant, workflow, model or day";
    case VALUE_DATE:
        return clock_day_parse(text, &day) ? NULL : "a date, such as 2026-01-31";
    }
    assert(false);
    return NULL;
}

/* --- options --- */

static enum err_code args_unknown_option(const struct cli_args *a, struct view name,
                                         struct err *err)
{
    struct suggest s;

    suggest_init(&s, name);
    for (size_t i = 0; i < CLI_OPTION_COUNT; i++)
        if (options[i].commands & OF(a->command)) suggest_offer(&s, view_of(options[i].name));
    if (s.best.ptr)
        return err_set(err, ERR_INVALID, "%s has no option %.*s; did you mean %.*s?",
                       commands[a->command].name, (int)(name.len < 60 ? name.len : 60), name.ptr,
                       (int)s.best.len, s.best.ptr);
    return err_set(err, ERR_INVALID, "%s has no option %.*s", commands[a->command].name,
                   (int)(name.len < 60 ? name.len : 60), name.ptr);
}

static enum err_code args_take_option(struct args_reader *r, struct cli_args *a, struct err *err)
{
    struct view name = view_of(r->argv[r->at]), rest;
    const char *value = NULL;
    size_t o = 0;

    if (view_cut(name, '=', &name, &rest)) value = rest.ptr;
    while (o < CLI_OPTION_COUNT &&
           !(view_eq_str(name, options[o].name) && options[o].commands & OF(a->command)))
        o++;
    if (o == CLI_OPTION_COUNT) return args_unknown_option(a, name, err);
    if (a->option[o]) return err_set(err, ERR_INVALID, "%s stands twice", options[o].name);
    r->at++;
    if (options[o].value == VALUE_FLAG) {
        if (value) return err_set(err, ERR_INVALID, "%s takes no value", options[o].name);
        value = "";
    } else if (!value && r->at < r->argc && strncmp(r->argv[r->at], "--", 2) != 0) {
        value = r->argv[r->at++];
    }
    if (!value) return err_set(err, ERR_INVALID, "%s needs a value", options[o].name);
    enum value kind = options[o].value;
    if (o == CLI_OPT_AFTER && a->command == CLI_WATCH) kind = VALUE_EVENT;
    const char *wanted = args_fault(kind, view_of(value));
    if (wanted)
        return err_set(err, ERR_INVALID, "the value of %s must be %s", options[o].name, wanted);
    a->option[o] = value;
    return ERR_OK;
}

/* --- commands and what stands behind them --- */

static enum err_code args_unknown_command(const char *word, struct err *err)
{
    struct suggest s;

    for (size_t i = 0; i < sizeof later_commands / sizeof *later_commands; i++)
        if (strcmp(word, later_commands[i]) == 0)
            return err_set(err, ERR_INVALID, "%s is not available in this build", word);
    suggest_init(&s, view_of(word));
    for (size_t i = 0; i < CLI_COMMAND_COUNT; i++) suggest_offer(&s, view_of(commands[i].name));
    if (s.best.ptr)
        return err_set(err, ERR_INVALID, "no command %.60s; did you mean %.*s?", word,
                       (int)s.best.len, s.best.ptr);
    return err_set(err, ERR_INVALID, "no command %.60s", word);
}

/* The command's words, one or two. */
static enum err_code args_take_command(struct args_reader *r, enum cli_command *ret,
                                       struct err *err)
{
    const char *word = r->argv[r->at++];

    if (strcmp(word, "key") == 0) {
        if (r->at == r->argc || strcmp(r->argv[r->at], "new") != 0)
            return err_set(err, ERR_INVALID, "the command is: key new");
        r->at++;
        *ret = CLI_KEY_NEW;
        return ERR_OK;
    }
    for (size_t i = 0; i < CLI_COMMAND_COUNT; i++) {
        if (strcmp(word, commands[i].name) != 0) continue;
        *ret = (enum cli_command)i;
        return ERR_OK;
    }
    return args_unknown_command(word, err);
}

static enum err_code args_take_operand(struct args_reader *r, struct cli_args *a, struct err *err)
{
    const char *word = r->argv[r->at];
    struct job_id id;

    if (a->command == CLI_HELP) return args_take_command(r, &a->topic, err);
    if (commands[a->command].operand == OPERAND_NONE || a->operand)
        return err_set(err, ERR_INVALID, "%s: what is %.60s for?", commands[a->command].name, word);
    if (commands[a->command].operand == OPERAND_JOB && !id_parse(view_of(word), &id))
        return err_set(err, ERR_INVALID,
                       "%.60s is not a job id (36 characters, as submit prints it)", word);
    a->operand = word;
    r->at++;
    return ERR_OK;
}

static bool args_is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static enum err_code args_check_whole(const struct cli_args *a, struct err *err)
{
    if (a->command == CLI_SUBMIT && !a->operand)
        return err_set(
            err, ERR_INVALID,
            "submit needs the name of a workflow, or - for a whole request on standard input");
    if (commands[a->command].operand == OPERAND_JOB && !a->operand)
        return err_set(err, ERR_INVALID, "%s needs a job id", commands[a->command].name);
    if (a->command != CLI_SUBMIT) return ERR_OK;
    const enum cli_option body[] = {CLI_OPT_INPUT,    CLI_OPT_VERSION,  CLI_OPT_CLASS,
                                    CLI_OPT_KEY,      CLI_OPT_DEADLINE, CLI_OPT_RUN_AT,
                                    CLI_OPT_METADATA, CLI_OPT_PRIORITY};
    for (size_t i = 0; strcmp(a->operand, "-") == 0 && i < sizeof body / sizeof *body; i++)
        if (a->option[body[i]])
            return err_set(err, ERR_INVALID,
                           "with - the whole request comes from standard input: put %s into it",
                           options[body[i]].name);
    if (a->option[CLI_OPT_INPUT] && a->option[CLI_OPT_METADATA] &&
        strcmp(a->option[CLI_OPT_INPUT], "-") == 0 && strcmp(a->option[CLI_OPT_METADATA], "-") == 0)
        return err_set(err, ERR_INVALID,
                       "only one of --input and --metadata can come from standard input");
    return ERR_OK;
}

/* Options that hold for every command may stand before it: they are read once the command is known.
 */
static size_t args_find_command(char *const *argv, size_t argc)
{
    size_t at = 0;

    while (at < argc && strncmp(argv[at], "--", 2) == 0 && !args_is_help(argv[at])) {
        bool is_flag = strchr(argv[at], '=') != NULL;

        for (size_t o = 0; o < CLI_OPTION_COUNT; o++)
            if (strcmp(argv[at], options[o].name) == 0 && options[o].value == VALUE_FLAG)
                is_flag = true;
        at += is_flag ? 1 : 2;
    }
    return at;
}

static enum err_code args_take_rest(struct args_reader *r, struct cli_args *a, struct err *err)
{
    enum err_code code = ERR_OK;

    while (r->at < r->argc && code == ERR_OK) {
        const char *word = r->argv[r->at];

        if (!r->past_options && strcmp(word, "--") == 0) {
            r->past_options = true;
            r->at++;
        } else if (!r->past_options && args_is_help(word)) {
            if (a->command != CLI_HELP) a->topic = a->command;
            a->command = CLI_HELP;
            return ERR_OK;
        } else if (!r->past_options && word[0] == '-' && word[1]) {
            code = args_take_option(r, a, err);
        } else {
            code = args_take_operand(r, a, err);
        }
    }
    return code == ERR_OK ? args_check_whole(a, err) : code;
}

enum err_code cli_args_parse(char *const *argv, size_t argc, struct cli_args *ret, struct err *err)
{
    size_t start = args_find_command(argv, argc);
    struct args_reader r = {.argv = argv, .argc = argc, .at = start};

    *ret = (struct cli_args){.command = CLI_HELP, .topic = CLI_HELP};
    if (argc == 0) return err_set(err, ERR_INVALID, "a command is missing");
    if (start < argc && args_is_help(argv[start])) return ERR_OK;
    if (start >= argc) return err_set(err, ERR_INVALID, "a command is missing");
    enum err_code code = args_take_command(&r, &ret->command, err);
    if (code != ERR_OK) return code;
    struct args_reader before = {.argv = argv, .argc = start};
    while (before.at < before.argc && code == ERR_OK) code = args_take_option(&before, ret, err);
    return code == ERR_OK ? args_take_rest(&r, ret, err) : code;
}
