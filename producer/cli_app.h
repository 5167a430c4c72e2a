#ifndef PRODUCER_CLI_APP_H
#define PRODUCER_CLI_APP_H
#include "common/io/httpc.h"
#include "producer/cli_args.h"
#include "producer/cli_http.h"

/* The tool at work: a loop, a client, the server it speaks to. Commands read like a script: each
 * exchange turns the loop until its answer is there. */
struct cli_app {
    const struct cli_args *args;
    struct loop *loop;
    struct httpc *httpc;
    struct cli_server server;
    char *base, *key;   /* key NULL: none; wiped at the end */
    bool is_base_given; /* false: nobody named the gateway, base is a guess */
    bool is_interrupted;
};

/* ERR_INVALID: an address or a key that cannot be one (nothing was sent). */
MUST_CHECK enum err_code cli_app_init(struct cli_app *app, const struct cli_args *args,
                                      struct err *err);
void cli_app_fini(struct cli_app *app);

/* One exchange. False: what went wrong was said on standard error, *ret_exit is what to leave with.
 * True: an answer of 2xx lies in body. */
struct cli_ask {
    const char *method;
    struct view path, body;
    const char *idempotency; /* the bare key; NULL = none */
    unsigned tries;          /* 0 = CLI_TRIES */
};
bool cli_app_ask(struct cli_app *app, const struct cli_ask *ask, struct buf *body,
                 enum cli_exit *ret_exit);

/* Commands. Each says on standard error what went wrong. */
enum cli_exit cli_submit(struct cli_app *app);
enum cli_exit cli_get(struct cli_app *app);
enum cli_exit cli_list(struct cli_app *app);
enum cli_exit cli_cancel(struct cli_app *app);
enum cli_exit cli_retry(struct cli_app *app);
enum cli_exit cli_key_new(const struct cli_args *args);
/* Follows a job to its end. was_reached: the server answered a moment ago. */
enum cli_exit cli_follow(struct cli_app *app, const char *id, const char *after, bool was_reached);
enum cli_exit cli_doctor(struct cli_app *app);
enum cli_exit cli_limits(struct cli_app *app);
enum cli_exit cli_usage(struct cli_app *app);

#endif
