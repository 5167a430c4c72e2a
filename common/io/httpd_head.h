#ifndef IO_HTTPD_HEAD_H
#define IO_HTTPD_HEAD_H
#include "common/base/view.h"

/* The strict reading of a request's head, and of the query in its target. Pure: no library, no
 * socket.
 *
 * The fields are handed over one by one as the library parsed them, in the order they came:
 *   httpd_head_begin -> httpd_head_field ... -> httpd_head_end, then look at status. */
enum { HTTPD_HEAD_FIELDS_MAX = 100 };

struct httpd_head_line {
    const char *method;  /* NUL-terminated; where the head begins */
    const char *version; /* NUL-terminated, in the same bytes */
    const char *target;  /* where the target began in the same bytes */
    struct view raw;     /* a copy of the target as it came */
    size_t head_len;     /* of the whole head, from method on */
    size_t head_max;
    bool is_in_place; /* the library parsed in place: walk the bytes */
};

struct httpd_head {
    int status; /* 0 = nothing wrong; else what to answer */
    const char *reason;
    const char *at, *end; /* where the next field must begin; NULL = not walked */
    size_t field_count, length_count, host_count, coding_count;
    bool is_http10;
    bool is_chunked;
    bool has_body;   /* a Content-Length above 0, or chunked */
    uint64_t length; /* Content-Length */
};

void httpd_head_begin(struct httpd_head *h, const struct httpd_head_line *line);
void httpd_head_field(struct httpd_head *h, struct view name, struct view value);
void httpd_head_end(struct httpd_head *h);

/* Path and query of a target, both still encoded. An absolute form loses its scheme and authority.
 */
void httpd_target_split(struct view target, struct view *ret_path, struct view *ret_query);
/* Next name=value of a query; *cursor starts at 0. Both still encoded; a name without = has an
 * empty value. */
bool httpd_target_each(struct view query, size_t *cursor, struct view *ret_name,
                       struct view *ret_value);
/* Percent- and plus-decoded into dst, NUL-terminated. False: malformed, holds a NUL, or too long
 * (dst is then empty). */
bool httpd_target_decode(struct view raw, char *dst, size_t size);

#endif
