/* Errors as clients see them: RFC 9457 members for those who follow the RFC, and an `error` member in OpenAI's shape
 * for SDKs that look there. One table (errors.def) gives code, status, type and title. */
#include "schemas/problem.h"

#include "common/base/json.h"
#include <assert.h>

static const struct {
    const char *code, *type, *title;
    int status;
} problems[] = {
#define ERROR(sym, code, http, type, title) {code, type, title, http},
#include "schemas/errors.def"
#undef ERROR
};

const char *problem_code(enum problem p)
{
    assert(p < PROBLEM_COUNT);
    return problems[p].code;
}

int problem_status(enum problem p)
{
    assert(p < PROBLEM_COUNT);
    return problems[p].status;
}

const char *problem_title(enum problem p)
{
    assert(p < PROBLEM_COUNT);
    return problems[p].title;
}

bool problem_parse(struct view code, enum problem *ret)
{
    for (unsigned i = 0; i < PROBLEM_COUNT; i++) {
        if (!view_eq_str(code, problems[i].code)) continue;
        *ret = (enum problem)i;
        return true;
    }
    return false;
}

static void problem_optional(struct jw *w, const char *key, const char *text)
{
    if (text) jw_kcstr(w, key, text);
}

bool problem_put(struct buf *out, const struct problem_body *p)
{
    assert(p->kind < PROBLEM_COUNT);
    struct jw w;
    char type[64];
    const char *detail = p->detail ? p->detail : problems[p->kind].title;
    snprintf(type, sizeof type, "urn:sluice:problem:%s", problems[p->kind].code);
    jw_init(&w, out);
    jw_object(&w);
    jw_kcstr(&w, "type", type);
    jw_kcstr(&w, "title", problems[p->kind].title);
    if (problems[p->kind].status) jw_kint(&w, "status", problems[p->kind].status);
    jw_kcstr(&w, "detail", detail);
    problem_optional(&w, "instance", p->instance);
    jw_kcstr(&w, "code", problems[p->kind].code);
    problem_optional(&w, "pointer", p->pointer);
    problem_optional(&w, "job_id", p->job_id);
    jw_key(&w, "error");
    jw_object(&w);
    jw_kcstr(&w, "message", detail);
    jw_kcstr(&w, "type", problems[p->kind].type);
    jw_kcstr(&w, "param", p->param);
    jw_kcstr(&w, "code", problems[p->kind].code);
    jw_end_object(&w);
    jw_end_object(&w);
    return !out->failed;
}
