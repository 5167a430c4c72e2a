#ifndef PRODUCER_CLI_JSON_H
#define PRODUCER_CLI_JSON_H
#include "common/base/json.h"

/* JSON for people and from them. Pure. */

/* Indented by two spaces, every number and string as it was written; characters that may not reach
 * a terminal become \u escapes. Text that is no JSON is cleaned and put as it is. No line end
 * behind. False: out is full. */
bool cli_json_put_pretty(struct buf *out, struct view json);
/* Is text one JSON value a request may hold? err->text then says where and why not; what names it
 * ("--input"). */
MUST_CHECK enum err_code cli_json_check(const char *what, struct view text, struct err *err);
/* The limits of what a server may answer. */
const struct json_limits *cli_json_answer_limits(void);
/* A member as text: a string decoded, anything else raw; false when absent or null. */
bool cli_json_member(struct view object, const char *key, struct buf *ret);
/* Shorthands over checked text. */
struct view cli_json_raw(struct view object, const char *key); /* VIEW_NONE: absent */
int64_t cli_json_int(struct view object, const char *key, int64_t fallback);
/* A string member into a fixed place; false (ret empty) when absent, not a string, or too long. */
bool cli_json_text(struct view object, const char *key, char *ret, size_t size);

#endif
