/* The allow-list is compared byte for byte: an origin is scheme, host and port in the browser's own
 * spelling, and every looser comparison (prefixes, suffixes, patterns) has let somebody in who
 * should have stayed out. */
#include "gateway/cors.h"

static bool cors_is_origin(struct view origin)
{
    if (origin.len == 0 || origin.len >= CORS_ORIGIN_MAX) return false;
    for (size_t i = 0; i < origin.len; i++)
        if (origin.ptr[i] <= ' ' || origin.ptr[i] > '~') return false;
    return true;
}

void cors_decide(char *const *origins, size_t count, struct view origin, struct cors_grant *ret)
{
    ret->origin[0] = '\0';
    if (!origin.ptr || !cors_is_origin(origin)) return;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(origins[i], "*") != 0 && !view_eq_str(origin, origins[i])) continue;
        bool is_copied = view_copy(origin, ret->origin, sizeof ret->origin);
        if (is_copied) return;
    }
}
