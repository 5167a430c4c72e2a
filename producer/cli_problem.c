/* Refusals in words.
 *
 * What a server says is a code, a title and a sentence; what a person needs is the next thing to
 * do. That is a table from code to hint. An answer that is no problem detail did not come from a
 * gateway: most likely the address is wrong, or something stands in between. */
#include "producer/cli_problem.h"

#include "producer/cli_json.h"
#include "producer/cli_text.h"
#include "schemas/problem.h"

enum { TEXT_MAX = 4096, POINTER_MAX = 512 };

/* NULL: of the job, not of the request; it has its own words. */
static const char *const problem_hints[PROBLEM_COUNT] = {
    [PROBLEM_INVALID_REQUEST] = "is --url the address of a gateway of the same version?",
    [PROBLEM_METHOD_NOT_ALLOWED] = "is --url the address of a gateway of the same version?",
    [PROBLEM_REQUEST_TIMEOUT] = "is --url the address of a gateway of the same version?",
    [PROBLEM_INVALID_JSON] = "the place is a JSON pointer into the request",
    [PROBLEM_INVALID_CURSOR] = "leave --after out to begin at the beginning",
    [PROBLEM_UNAUTHORIZED] = "set SLUICE_KEY (or --key-file) to a key of this installation; sluice "
                             "key new makes one, an operator admits it",
    [PROBLEM_FORBIDDEN] = "use a key with that scope; an operator adds it to the key's scopes "
                          "under tenants in sluice.yaml",
    [PROBLEM_NOT_FOUND] = "is it a job of this key's tenant? jobs of others look unknown, and "
                          "ended ones are kept for retention.results",
    [PROBLEM_CONFLICT] =
        "a job can be retried once it has ended: sluice watch, or sluice cancel, first",
    [PROBLEM_INPUT_EXPIRED] = "submit it anew with its input",
    [PROBLEM_TOO_LARGE] =
        "put large data where a step can fetch it, and its address into the input",
    [PROBLEM_UNKNOWN_WORKFLOW] =
        "check the name and --version; workflows lie in workflows.dir of the gateway",
    [PROBLEM_UNKNOWN_FIELD] = "sluice submit --help lists what a request may hold",
    [PROBLEM_INVALID_FIELD] = "sluice submit --help lists what a request may hold",
    [PROBLEM_INVALID_INPUT] = "the place is a JSON pointer into the request; the workflow's file "
                              "says what its input must be",
    [PROBLEM_IDEMPOTENCY_MISMATCH] = "another request was sent under this --idempotency-key: use "
                                     "another key, or send the first request unchanged",
    [PROBLEM_QUOTA_EXCEEDED] = "wait until jobs have ended (sluice list --status queued), or have "
                               "max_queued of the tenant raised",
    [PROBLEM_HEAD_TOO_LARGE] = "is the key in SLUICE_KEY a key?",
    [PROBLEM_INTERNAL] = "the gateway's log says more",
    [PROBLEM_UNAVAILABLE] = "try again; sluice doctor says what is away",
};

static void problem_put_clean(struct buf *out, const char *before, struct view text)
{
    buf_put_str(out, before);
    cli_text_put(out, text, CLI_ONE_LINE);
    buf_put_char(out, '\n');
}

static void problem_put_known(struct buf *out, const struct cli_refusal *r, struct buf *scratch)
{
    char code[64], job[64], pointer[POINTER_MAX];
    enum problem p;

    cli_json_text(r->body, "code", code, sizeof code);
    buf_put_str(out, "sluice: ");
    cli_text_put(out, buf_view(scratch), CLI_ONE_LINE);
    buf_printf(out, " (%d %s)\n", r->status, code);
    struct view title = cli_json_raw(r->body, "title"), detail = cli_json_raw(r->body, "detail");
    buf_reset(scratch);
    if (!view_eq(title, detail) && cli_json_member(r->body, "detail", scratch))
        problem_put_clean(out, "  ", buf_view(scratch));
    if (cli_json_text(r->body, "pointer", pointer, sizeof pointer))
        problem_put_clean(out, "  at ", view_of(pointer[0] ? pointer : "the root of the request"));
    if (cli_json_text(r->body, "job_id", job, sizeof job))
        problem_put_clean(out, "  job ", view_of(job));
    if (problem_parse(view_of(code), &p) && problem_hints[p])
        buf_printf(out, "  hint: %s\n", problem_hints[p]);
    if (r->retry_after_s > 0)
        buf_printf(out, "  the server asks to wait %lld s\n", (long long)r->retry_after_s);
}

void cli_maybe_landed_put(struct buf *out, const char *idempotency)
{
    if (!idempotency) return;
    buf_put_str(out,
                "  should it have landed all the same: the same request with --idempotency-key ");
    cli_text_put(out, view_of(idempotency), CLI_ONE_LINE);
    buf_put_str(out, " is the same job\n");
}

bool cli_problem_put(struct buf *out, const struct cli_refusal *r)
{
    struct buf scratch;
    bool is_json = r->body.len > 0 && json_check(r->body, cli_json_answer_limits(), NULL) == ERR_OK;

    buf_init(&scratch, TEXT_MAX);
    if (is_json && cli_json_member(r->body, "title", &scratch) &&
        cli_json_raw(r->body, "code").ptr) {
        problem_put_known(out, r, &scratch);
    } else {
        buf_printf(out, "sluice: an answer of status %d that is not Sluice's\n", r->status);
        buf_printf(out,
                   "  hint: is %s the address of a gateway, or does a proxy stand before it?\n",
                   r->url);
    }
    if (cli_problem_is_passing(r->status)) cli_maybe_landed_put(out, r->idempotency);
    buf_fini(&scratch);
    return !out->failed;
}

const char *cli_reason(const char *text)
{
    static const char part[] = "http: ";

    return strncmp(text, part, sizeof part - 1) == 0 ? text + sizeof part - 1 : text;
}

bool cli_away_put(struct buf *out, const char *url, const char *reason)
{
    buf_printf(out, "sluice: cannot reach %s: ", url);
    cli_text_put(out, view_of(cli_reason(reason)), CLI_ONE_LINE);
    buf_put_str(out, "\n  hint: is SLUICE_URL (or --url) right, and is the gateway running? "
                     "sluice doctor looks further\n");
    return !out->failed;
}

bool cli_problem_is_passing(int status)
{
    return status >= 502 && status <= 504;
}

enum cli_exit cli_problem_exit(int status)
{
    return cli_problem_is_passing(status) ? CLI_EXIT_AWAY : CLI_EXIT_FAILED;
}
