#ifndef GATEWAY_FIELDS_H
#define GATEWAY_FIELDS_H
#include "common/base/rng.h"
#include "schemas/event.h"

/* Reading of the request fields that mean something here. Pure; VIEW_NONE = the field is absent. */
enum { IDEMPOTENCY_KEY_MAX = 255, REQUEST_ID_MAX = 64, TRACEPARENT_LEN = 55, WAIT_MAX_S = 300 };

enum field_verdict { FIELD_ABSENT, FIELD_GOOD, FIELD_BAD };

/* Idempotency-Key: a quoted sf-string, or bare visible ASCII; the same key either way. ret is
 * NUL-terminated. */
enum field_verdict fields_idempotency_key(struct view field, char ret[IDEMPOTENCY_KEY_MAX + 1]);
/* Prefer: wait=N among other preferences (which are ignored). N above WAIT_MAX_S is cut to it; a
 * malformed preference is no preference. */
bool fields_prefer_wait(struct view field, int64_t *ret_s);
/* W3C traceparent; malformed or all-zero ones are dropped. ret: NUL-terminated, version 00. */
bool fields_traceparent(struct view field, char ret[TRACEPARENT_LEN + 1]);
/* The client's x-request-id when it is tame, else a new one. */
void fields_request_id(struct view field, struct rng *rng, char ret[REQUEST_ID_MAX + 1]);
/* Last-Event-ID, else ?after= (VIEW_NONE or empty = absent: from the start, ret {0, 0}). */
enum field_verdict fields_cursor(struct view last_event_id, struct view after,
                                 struct event_id *ret);

#endif
