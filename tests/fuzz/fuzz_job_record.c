/* A record from a log that anybody may have written to: a head that is accepted is written and read as the same head, and a
 * value that is accepted likewise. */
#include "fuzz_record.h"
#include "schemas/job.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_body(struct view value)
{
    struct job_body b, got;
    struct err err;
    struct buf out;
    if (job_body_read(value, &b, &err) != ERR_OK) {
        assert(err.code == ERR_INVALID && err.text[0]);
        return;
    }
    buf_init(&out, 8 << 20);
    assert(job_body_put(&out, &b));
    enum err_code code = job_body_read(buf_view(&out), &got, &err);
    assert(code == ERR_OK && view_eq(got.input, b.input) && view_eq(got.workflow, b.workflow));
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct record_in rec = fuzz_record(data, size), again;
    struct record_out out = {.topic = "t"};
    struct job_scratch scratch;
    struct job_head h, got;
    struct err err;
    fuzz_body(rec.value);
    if (job_head_read(&rec, &h, &err) != ERR_OK) {
        assert((err.code == ERR_INVALID || err.code == ERR_CONFLICT) && err.text[0]);
        return 0;
    }
    job_head_write(&h, &out, &scratch);
    again = fuzz_as_read(&out);
    enum err_code code = job_head_read(&again, &got, &err);
    assert(code == ERR_OK && memcmp(&got, &h, sizeof h) == 0);
    return 0;
}
