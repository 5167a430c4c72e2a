/* What every port has in common and is not a function of a server: reading the headers of a
 * record. */
#include "common/base/port.h"

struct view record_header(const struct record_in *rec, const char *name)
{
    for (size_t i = 0; i < rec->header_count; i++) {
        if (view_eq_str(rec->headers[i].name, name)) return rec->headers[i].value;
    }
    return VIEW_NONE;
}
