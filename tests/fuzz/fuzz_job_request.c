/* A client's body. What is accepted keeps its promises (slices inside the text, names and times in range) and can be written
 * as a record's value and read again; what is refused is refused with a problem and a pointer. */
#include "common/base/json.h"
#include "schemas/job.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NOW = 1795554000 };

static void fuzz_inside(struct view body, struct view v)
{
    assert(!v.ptr || (v.len > 0 && v.ptr >= body.ptr && v.ptr + v.len <= body.ptr + body.len));
}

static void fuzz_as_value(const struct job_request *r)
{
    struct job_body b = {.workflow = view_of(r->workflow), .version = r->version, .input = r->input,
                         .metadata = r->metadata, .webhook = r->webhook, .key = r->key},
                    got;
    struct buf out;
    struct err err;
    buf_init(&out, 4 << 20);
    assert(job_body_put(&out, &b));
    enum err_code code = job_body_read(buf_view(&out), &got, &err);
    assert(code == ERR_OK);
    assert(view_eq(got.workflow, b.workflow) && got.version == b.version && view_eq(got.input, b.input));
    assert(view_eq(got.metadata, b.metadata) && view_eq(got.webhook, b.webhook) && view_eq(got.key, b.key));
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct view body = view_make(size ? data : (const uint8_t *)"", size);
    struct job_request r;
    enum problem p = PROBLEM_COUNT;
    struct err err = {.where = ""};
    int64_t now = (int64_t)NOW * 1000;
    if (job_request_read(body, now, &r, &p, &err) != ERR_OK) {
        assert(p < PROBLEM_COUNT && problem_status(p) >= 400 && err.text[0]);
        assert(!err.where[0] || err.where[0] == '/');
        return 0;
    }
    fuzz_inside(body, r.input);
    fuzz_inside(body, r.metadata);
    fuzz_inside(body, r.webhook);
    fuzz_inside(body, r.key);
    assert(r.input.ptr && job_workflow_name_ok(view_of(r.workflow)) && r.version >= 0 && r.cls < CLASS_COUNT);
    assert(r.run_at_ms >= 0 && r.run_at_ms - now <= JOB_HORIZON_MS);
    assert(r.deadline_ms >= 0 && r.deadline_ms - now <= JOB_HORIZON_MS);
    fuzz_as_value(&r);
    return 0;
}
