/* The help pages: one for the tool, one a command. Each opens with the call, says in a sentence
 * what it does, and ends with something that can be typed. */
#include "producer/cli_help.h"

#include <assert.h>

#define HELP_SERVER                                                                                \
    "      --url URL              the gateway; else SLUICE_URL, else http://127.0.0.1:8080\n"      \
    "      --key-file FILE        file that holds the API key; else the key in SLUICE_KEY\n"
#define HELP_JSON "      --json                 what the server said, as JSON\n"

static const char help_tool[] =
    "sluice: submit and watch jobs of a Sluice installation\n"
    "\n"
    "  sluice submit WORKFLOW     put a job in; its id is printed\n"
    "  sluice watch ID            follow a job to its end, over any number of connections\n"
    "  sluice get ID              a job as it stands\n"
    "  sluice list                jobs, newest first\n"
    "  sluice cancel ID           end a job early\n"
    "  sluice retry ID            run an ended job again; finished steps are not paid again\n"
    "  sluice limits              what providers allow, what is used of it, what waits; live\n"
    "  sluice usage               tokens, calls and cost by tenant, workflow, model or day\n"
    "  sluice key new             make an API key and the line that admits it\n"
    "  sluice doctor              check configuration, Kafka, Redis, clock, gateway; says what to "
    "do\n"
    "  sluice help COMMAND        the page of a command; also sluice COMMAND --help\n"
    "\n"
    "Not in this build: signal batch workflow test fleet drain rollout dlq.\n"
    "\n"
    "Environment (make run writes them to .run/env):\n"
    "  SLUICE_URL                 the gateway, such as https://sluice.example; default "
    "http://127.0.0.1:8080\n"
    "  SLUICE_KEY                 the API key; it never stands on a command line (see --key-file)\n"
    "\n"
    "Exit status: 0 done, and a watched job succeeded; 1 refused, or the job failed; 2 wrong "
    "usage, nothing was sent;\n"
    "3 the job was canceled or expired; 4 the server could not be reached; 130 Ctrl-C (the job "
    "goes on).\n"
    "\n"
    "  . .run/env; sluice submit hello --input '{\"name\": \"Ada\"}' --watch\n";

static const char help_submit[] =
    "sluice submit WORKFLOW [options]    put a job in; its id is printed\n"
    "sluice submit - [options]           the whole request, a JSON object, comes from standard "
    "input\n"
    "\n"
    "      --input JSON|@FILE|-   the workflow's input: JSON, a file that holds it, or - for "
    "standard input; default {}\n"
    "      --version N            a version of the workflow; default the newest\n"
    "      --class CLASS          interactive (default) or bulk\n"
    "      --key KEY              what belongs together: jobs of one key share the limits set for "
    "it\n"
    "      --priority N           0 to 9, default 5: among your own waiting jobs the higher starts "
    "first\n"
    "      --deadline D           the job expires then: a time (2026-01-02T15:04:05Z) or from now "
    "(10m)\n"
    "      --run-at T             not before then: a time or from now\n"
    "      --metadata JSON|@FILE|-  kept with the job and shown with it\n"
    "      --idempotency-key K    the same key and request are the same job; default a random one\n"
    "      --watch                follow the job to its end, as sluice watch does\n" HELP_JSON
        HELP_SERVER "\n"
    "A request always carries an Idempotency-Key, so it is repeated without harm when the "
    "connection breaks or the server\n"
    "answers 503: a few times, with growing pauses.\n"
    "\n"
    "  id=$(sluice submit hello --input '{\"name\": \"Ada\"}')\n"
    "  jq '{workflow: \"hello\", input: .}' in.json | sluice submit - --watch\n";

static const char help_watch[] =
    "sluice watch ID [options]    follow a job to its end\n"
    "\n"
    "In a terminal: a line for each step and the text as it is written. In a pipe: plain lines.\n"
    "When the connection breaks it goes on where it was, for ever. Events that are gone are told "
    "by a reset and a snapshot.\n"
    "\n"
    "      --after EVENT-ID       go on after this event\n"
    "      --json                 the events as NDJSON, each with its id\n" HELP_SERVER "\n"
    "Exit status: 0 succeeded, 1 failed, 3 canceled or expired, 4 the server was never reached.\n"
    "\n"
    "  sluice watch 0190a1b2-c3d4-7001-8000-0123456789ab --json | jq -r 'select(.type == "
    "\"step.delta\").text'\n";

static const char help_get[] =
    "sluice get ID [options]    a job as it stands: status, steps, usage, cost, output or error\n"
    "\n"
    "Indented in a terminal; in a pipe, or with --json, as the server sent it.\n"
    "\n" HELP_JSON HELP_SERVER "\n"
    "  sluice get 0190a1b2-c3d4-7001-8000-0123456789ab | jq .output\n";

static const char help_list[] =
    "sluice list [options]    jobs, newest first\n"
    "\n"
    "      --status STATUS        queued, running, waiting, succeeded, failed, canceled or "
    "expired\n"
    "      --workflow NAME        of one workflow\n"
    "      --limit N              how many\n"
    "      --after NEXT           the next page: as the page before said\n" HELP_JSON HELP_SERVER
    "\n"
    "  sluice list --status failed --limit 20\n";

static const char help_cancel[] =
    "sluice cancel ID [options]    end a job early; an ended job stays as it is\n"
    "\n"
    "Prints the job's id and status. A running call is cut within a second.\n"
    "\n" HELP_JSON HELP_SERVER;

static const char help_retry[] =
    "sluice retry ID [options]    run an ended job again, as a new job; its id is printed\n"
    "\n"
    "Steps that were completed are taken over, not paid again. Twice the same retry is one job.\n"
    "\n"
    "      --watch                follow the new job to its end\n" HELP_JSON HELP_SERVER;

static const char help_limits[] =
    "sluice limits [options]    what providers allow, what is used of it, and what waits\n"
    "\n"
    "For every model, route and key: state (open, closed after a 429 or an outage and until when, "
    "probe, ramp), calls that\n"
    "wait and that are under way, 429s; and for each limit what was used in the last minute, what "
    "is allowed, whether that\n"
    "is configured, told by the provider or learnt, and when the next refill comes. Figures are of "
    "the whole fleet.\n"
    "\n"
    "In a terminal: drawn again each second until Ctrl-C. In a pipe: lines, once.\n"
    "\n"
    "      --once                 once, in a terminal too\n"
    "      --model NAME           of one model, by the name workflows use\n" HELP_JSON HELP_SERVER
    "\n"
    "  sluice limits --json | jq '.data[].route[] | {provider, state, waiters}'\n";

static const char help_usage[] =
    "sluice usage [options]    tokens, calls and cost of a span of days (UTC)\n"
    "\n"
    "A key sees its own tenant; one with the scope admin sees all of them.\n"
    "\n"
    "      --by WHAT              tenant, workflow, model or day (default)\n"
    "      --from DATE            first day; default 30 days in all\n"
    "      --to DATE              last day; default today\n"
    "      --tenant T             of one tenant (scope admin)\n" HELP_JSON HELP_SERVER "\n"
    "  sluice usage --by model --from 2026-11-01 --to 2026-11-30\n";

static const char help_key_new[] =
    "sluice key new [options]    make an API key and the line that admits it\n"
    "\n"
    "Prints two lines: the key, which is kept nowhere else, and YAML with its SHA-256 for "
    "sluice.yaml.\n"
    "\n"
    "      --tenant T             the line is a whole entry of tenants, not only of its keys\n"
    "      --scopes LIST          of submit, read, admin; default submit,read\n"
    "\n"
    "  sluice key new --tenant acme --scopes submit,read\n";

static const char help_doctor[] = "sluice doctor [options]    check an installation from where "
                                  "this command runs, and say what to do\n"
                                  "\n"
                                  "Configuration, workflows, provider keys, Kafka (topics, "
                                  "partitions, workers), Redis (version, persistence, eviction,\n"
                                  "clock), the gateway and the key. Nothing is changed. Exit "
                                  "status 1 when a check fails; warnings do not count.\n"
                                  "\n"
                                  "      --config FILE          sluice.yaml; else SLUICE_CONFIG, "
                                  "else built-in defaults\n" HELP_SERVER "\n"
                                  "SLUICE_ADMIN_URL is asked for readiness when it is set.\n";

const char *cli_help(enum cli_command topic)
{
    static const char *const pages[CLI_COMMAND_COUNT] = {
        [CLI_HELP] = help_tool,     [CLI_SUBMIT] = help_submit,   [CLI_WATCH] = help_watch,
        [CLI_GET] = help_get,       [CLI_LIST] = help_list,       [CLI_CANCEL] = help_cancel,
        [CLI_RETRY] = help_retry,   [CLI_KEY_NEW] = help_key_new, [CLI_DOCTOR] = help_doctor,
        [CLI_LIMITS] = help_limits, [CLI_USAGE] = help_usage,
    };

    assert(topic < CLI_COMMAND_COUNT && pages[topic]);
    return pages[topic];
}
