/* Places in configuration and workflow files, made only while a file is read: small copies by value
 * are fine. */
#include "schemas/place.h"
#include <stdio.h>

struct place place_key(const struct place *at, const char *key)
{
    struct place r;
    snprintf(r.path, sizeof r.path, "%.120s%s%.64s", at ? at->path : "",
             at && at->path[0] ? "." : "", key);
    int used = snprintf(r.pointer, sizeof r.pointer, "%.180s/", at ? at->pointer : "");
    size_t n = (size_t)used;
    for (const char *p = key; *p && n + 3 < sizeof r.pointer; p++) {
        if (*p != '~' && *p != '/') {
            r.pointer[n++] = *p;
            continue;
        }
        r.pointer[n++] = '~';
        r.pointer[n++] = *p == '~' ? '0' : '1';
    }
    r.pointer[n] = '\0';
    return r;
}

struct place place_index(const struct place *at, size_t index)
{
    struct place r;
    snprintf(r.path, sizeof r.path, "%.160s[%zu]", at->path, index);
    snprintf(r.pointer, sizeof r.pointer, "%.220s/%zu", at->pointer, index);
    return r;
}
