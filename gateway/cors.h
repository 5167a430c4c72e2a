#ifndef GATEWAY_CORS_H
#define GATEWAY_CORS_H
#include "common/base/view.h"

/* Which pages of other origins may call us from a browser. Pure. No credentials (cookies) are ever
 * involved, so the answer names the asking origin and nothing more. */
enum { CORS_ORIGIN_MAX = 256 };

struct cors_grant {
    char origin[CORS_ORIGIN_MAX]; /* "" = none: no field of this kind goes out */
};

/* origins: the allow-list; "*" allows all. origin: the request's field or VIEW_NONE. */
void cors_decide(char *const *origins, size_t count, struct view origin, struct cors_grant *ret);

#define CORS_METHODS "GET, HEAD, POST, OPTIONS"
#define CORS_HEADERS                                                                               \
    "Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, Prefer, "         \
    "X-Api-Key, X-Request-Id, "                                                                    \
    "traceparent, tracestate"
#define CORS_EXPOSE                                                                                \
    "Location, Retry-After, X-Request-Id, Idempotent-Replayed, Preference-Applied, RateLimit, "    \
    "RateLimit-Policy, ETag, "                                                                     \
    "Allow"
#define CORS_MAX_AGE "7200"

#endif
