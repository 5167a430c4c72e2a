#ifndef SCHEMAS_PROBLEM_H
#define SCHEMAS_PROBLEM_H
#include "common/base/buf.h"
#include "common/base/view.h"

/* schemas/errors.def as an enum, and RFC 9457 bodies that also carry an OpenAI-style error member. */
enum problem {
#define ERROR(sym, code, http, type, title) PROBLEM_##sym,
#include "schemas/errors.def"
#undef ERROR
    PROBLEM_COUNT
};

const char *problem_code(enum problem p);
int problem_status(enum problem p); /* HTTP; 0: of jobs and steps */
const char *problem_title(enum problem p);
bool problem_parse(struct view code, enum problem *ret);

struct problem_body {
    enum problem kind;
    const char *detail;   /* a sentence: what, where, how to fix. Never prompts, inputs, keys */
    const char *pointer;  /* JSON pointer or NULL */
    const char *param;    /* a field or query name or NULL */
    const char *job_id;   /* or NULL */
    const char *instance; /* the path or NULL */
};
/* {"type","title","status"?,"detail","instance"?,"code","pointer"?,"job_id"?,"error":{message,type,param,code}};
 * type is urn:sluice:problem:<code>. A NULL detail gives the title. */
bool problem_put(struct buf *out, const struct problem_body *p);

#endif
