#ifndef GATEWAY_PAGE_H
#define GATEWAY_PAGE_H
#include "common/base/buf.h"
#include "common/base/id.h"
#include "schemas/job.h"

/* Paging through a tenant's index of jobs, newest first: the position, and what passes the filters.
 * Pure. */
enum { PAGE_TEXT_MAX = 128, PAGE_LIMIT_DEFAULT = 50, PAGE_LIMIT_MAX = 500 };

/* Where a page ended: the last index entry looked at. has false = before the first. */
struct page_position {
    bool has;
    int64_t score; /* created-ms */
    struct job_id id;
};

/* Opaque to clients. */
bool page_position_put(struct buf *out, const struct page_position *p);
bool page_position_read(struct view text, struct page_position *ret); /* false: not one of ours */
/* Does an index entry come after this position in the order of the list (score falling, then id
 * falling)? */
bool page_is_after(const struct page_position *p, int64_t score, struct view id);

struct page_filter {
    int status;                       /* an enum job_status, -1 = any */
    char workflow[WORKFLOW_NAME_MAX]; /* "" = any */
};
bool page_passes(const struct page_filter *f, struct view status,
                 struct view workflow /* name@version */);

#endif
