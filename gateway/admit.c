/* The checks a body passes before it may cost anybody anything. Most submissions have no input
 * schema, and then no tree is ever built of the body: the members are found in the raw bytes, which
 * is also what the record carries on. With a schema one copy of the input is parsed, judged and
 * thrown away. */
#include "gateway/admit.h"

#include "common/base/hash.h"
#include "common/base/json.h"
#include <assert.h>
#include <jansson.h>

enum { ADMIT_DEPTH_MAX = 64, ADMIT_NODES_MAX = 200000 };

static bool admit_refuse(struct admit_refusal *ret, enum problem problem)
{
    ret->problem = problem;
    return false;
}

static bool admit_workflow(const struct workflows *ws, struct admitted *a,
                           struct admit_refusal *ret)
{
    a->workflow = workflows_find(ws, view_of(a->request.workflow), a->request.version);
    if (a->workflow) return true;
    if (a->request.version > 0 && workflows_find(ws, view_of(a->request.workflow), 0))
        (void)err_set_at(&ret->err, ERR_NOT_FOUND, "/version", "workflow %s has no version %lld",
                         a->request.workflow, (long long)a->request.version);
    else
        (void)err_set_at(&ret->err, ERR_NOT_FOUND, "/workflow",
                         "there is no workflow of this name");
    return admit_refuse(ret, PROBLEM_UNKNOWN_WORKFLOW);
}

static bool admit_input(const struct admitted *a, struct admit_refusal *ret)
{
    const struct json_limits limits = {a->request.input.len, ADMIT_DEPTH_MAX, ADMIT_NODES_MAX};
    json_t *input = NULL;
    if (!a->workflow->input) return true;
    if (!a->request.input.ptr) {
        (void)err_set_at(&ret->err, ERR_INVALID, "/input", "the workflow needs an input");
        return admit_refuse(ret, PROBLEM_INVALID_INPUT);
    }
    enum err_code code = json_load(a->request.input, &limits, &input, &ret->err);
    if (code == ERR_OK) code = jsonschema_check(a->workflow->input, input, "/input", &ret->err);
    json_decref(input);
    return code == ERR_OK ? true : admit_refuse(ret, PROBLEM_INVALID_INPUT);
}

bool admit_check(const struct workflows *ws, struct view body, int64_t wall_ms,
                 struct admitted *ret, struct admit_refusal *ret_refusal)
{
    struct admitted a = {.workflow = NULL};
    enum problem problem = PROBLEM_INVALID_JSON;
    ret_refusal->err = (struct err){.code = ERR_OK};
    if (job_request_read(body, wall_ms, &a.request, &problem, &ret_refusal->err) != ERR_OK)
        return admit_refuse(ret_refusal, problem);
    if (!admit_workflow(ws, &a, ret_refusal) || !admit_input(&a, ret_refusal)) return false;
    *ret = a;
    return true;
}

void admit_head(const struct admitted *a, struct view tenant, struct view body, int64_t wall_ms,
                struct job_head *ret)
{
    unsigned char hash[SHA256_BYTES];
    *ret = (struct job_head){
        .cls = a->request.cls,
        .version = a->workflow->version,
        .created_ms = wall_ms,
        .due_ms = a->request.run_at_ms,
        .deadline_ms = a->request.deadline_ms,
        .since = -1,
    };
    ret->boost = a->request.boost;
    bool is_copied = view_copy(tenant, ret->tenant, sizeof ret->tenant) &&
                     view_copy(view_of(a->workflow->name), ret->workflow, sizeof ret->workflow) &&
                     view_copy(view_of(a->workflow->pin), ret->pin, sizeof ret->pin);
    assert(is_copied);
    hash_sha256(body, hash);
    hash_hex(hash, sizeof hash, ret->fp);
}

bool admit_value(const struct admitted *a, struct buf *out)
{
    const struct job_body body = {
        .workflow = view_of(a->workflow->name),
        .version = a->workflow->version,
        .input = a->request.input,
        .metadata = a->request.metadata,
        .webhook = a->request.webhook,
        .key = a->request.key,
    };
    return job_body_put(out, &body);
}
