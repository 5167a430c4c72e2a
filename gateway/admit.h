#ifndef GATEWAY_ADMIT_H
#define GATEWAY_ADMIT_H
#include "schemas/job.h"
#include "schemas/workflow.h"

/* May this body become a job? Pure. The checks in their order: JSON and members, workflow and
 * version, the input against the workflow's schema. (Key, scope and size come before, in front.c
 * and httpd; the quota after, in submit.c.) */
struct admit_refusal {
    enum problem problem;
    struct err err; /* text: a sentence for the client; where: JSON pointer */
};

struct admitted {
    struct job_request request;      /* views into the body */
    const struct workflow *workflow; /* the pinned version; borrowed from ws */
};

/* False: refused, and *ret_refusal says why. */
bool admit_check(const struct workflows *ws, struct view body, int64_t wall_ms,
                 struct admitted *ret, struct admit_refusal *ret_refusal);

/* Fills what a new job's head takes from the request; the caller sets id and traceparent. */
void admit_head(const struct admitted *a, struct view tenant, struct view body, int64_t wall_ms,
                struct job_head *ret);
/* The record's value. */
bool admit_value(const struct admitted *a, struct buf *out);

#endif
