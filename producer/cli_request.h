#ifndef PRODUCER_CLI_REQUEST_H
#define PRODUCER_CLI_REQUEST_H
#include "common/base/buf.h"
#include "common/base/err.h"
#include "producer/cli_args.h"

/* What is sent: addresses, paths, bodies, keys. Pure. */

/* http(s)://host[:port][/prefix] without a last slash; ERR_INVALID says what is wrong. Never holds
 * credentials, a query or a fragment. */
MUST_CHECK enum err_code cli_url_check(const char *url, struct view *ret_base, struct err *err);
/* An API key as it may stand in a header: white space around it taken off, visible ASCII. */
MUST_CHECK enum err_code cli_key_check(struct view text, struct view *ret_key, struct err *err);

/* /v1/jobs/ID and what follows it ("", "/events", "/cancel"). */
bool cli_path_job(struct buf *out, const char *id, const char *rest);
/* /v1/jobs?status=..&.. of a list. */
bool cli_path_list(struct buf *out, const struct cli_args *a);
bool cli_path_usage(struct buf *out, const struct cli_args *a);  /* /v1/usage?by=..&.. */
bool cli_path_limits(struct buf *out, const struct cli_args *a); /* /v1/limits?model=.. */

/* The body of a submission. input, metadata: checked JSON, VIEW_NONE = absent (input: {}). */
bool cli_body_put(struct buf *out, const struct cli_args *a, struct view input,
                  struct view metadata);

/* The field's value for a key: a quoted string. ERR_INVALID: empty, over 255 characters, or not
 * printable ASCII. */
MUST_CHECK enum err_code cli_idempotency_put(struct buf *out, const char *key, struct err *err);
enum { CLI_RANDOM_KEY_BYTES = 16, CLI_RANDOM_KEY_TEXT = 40 };
/* A key of our own out of so many random bytes. */
void cli_idempotency_random(const unsigned char *bytes, char ret[CLI_RANDOM_KEY_TEXT]);

/* A new API key out of secret random bytes: sk- and 43 characters for 256 bits. */
enum { CLI_API_KEY_BYTES = 32, CLI_API_KEY_TEXT = 48 };
bool cli_api_key(const unsigned char *bytes, char ret[CLI_API_KEY_TEXT]);
/* The line of sluice.yaml that admits it: an entry of a tenant's keys, or with tenant an entry of
 * tenants. scopes: checked, separated by commas; NULL = submit,read. */
bool cli_api_key_put_yaml(struct buf *out, const char *key, const char *tenant, const char *scopes);

#endif
