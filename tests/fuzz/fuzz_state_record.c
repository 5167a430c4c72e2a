/* Records of the state log, several in a row: what is accepted is written and read alike, and whatever the order a ledger
 * stays within what its rule allows. */
#include "fuzz_record.h"
#include "schemas/ledger.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_round_trip(const struct state_record *s)
{
    struct record_out out = {.topic = "t"};
    struct state_scratch scratch;
    struct state_record got;
    struct err err;
    if (s->item >= 0 && s->kind != STATE_CHECKPOINT) return; /* only checkpoints write it */
    state_record_write(s, &out, &scratch);
    struct record_in in = fuzz_as_read(&out);
    enum err_code code = state_record_read(&in, &got, &err);
    assert(code == ERR_OK && got.kind == s->kind && got.item == s->item && strcmp(got.step, s->step) == 0);
    assert(memcmp(&got.head, &s->head, sizeof got.head) == 0 && strcmp(got.worker, s->worker) == 0);
}

static void fuzz_fold(struct ledger_job *j, const struct state_record *s, int64_t offset)
{
    enum ledger_verdict v;
    struct err err;
    int64_t epoch = ledger_epoch(j), attempts = ledger_attempts(j);
    bool was_ended = ledger_phase(j) == LEDGER_ENDED;
    enum err_code code = ledger_job_fold(j, s, offset, &v, &err);
    assert(code == ERR_OK);
    assert(ledger_epoch(j) >= epoch && ledger_attempts(j) >= 0 && ledger_attempts(j) - attempts <= 1);
    assert(!was_ended || (ledger_phase(j) == LEDGER_ENDED && v != LEDGER_COUNTED));
    assert((ledger_phase(j) == LEDGER_ENDED) == (ledger_terminal(j) != NULL));
}

/* Records are separated by a NUL. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ledger_job *j = ledger_job_new();
    struct view line, rest = view_make(size ? data : (const uint8_t *)"", size);
    for (int64_t offset = 0; rest.len; offset++) {
        struct state_record s;
        struct err err;
        if (!view_cut(rest, '\0', &line, &rest)) line = rest, rest = VIEW_NONE;
        struct record_in rec = fuzz_record((const uint8_t *)line.ptr, line.len);
        if (state_record_read(&rec, &s, &err) != ERR_OK) {
            assert((err.code == ERR_INVALID || err.code == ERR_CONFLICT) && err.text[0]);
            continue;
        }
        fuzz_round_trip(&s);
        fuzz_fold(j, &s, offset);
    }
    ledger_job_free(j);
    return 0;
}
