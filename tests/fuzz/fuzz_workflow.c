/* Whatever bytes are given as a workflow file: refused with a place and a reason, or read into a
 * workflow whose promises hold (order, needs, names that are ended). */
#include "schemas/workflow.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct workflow *w = NULL;
    struct err err = {.code = ERR_OK};
    enum err_code code =
        workflow_parse(view_make(size ? (const void *)data : "", size), "fuzz.yaml", &w, &err);
    assert((code == ERR_OK) == (w != NULL));
    if (code != ERR_OK) {
        assert(err.code == code && err.text[0] && strlen(err.text) < sizeof err.text);
        return 0;
    }
    assert(w->step_count >= 1 && w->step_count <= 256 && w->version >= 1);
    for (size_t i = 0; i < w->step_count; i++) {
        const struct workflow_step *s = &w->steps[i];
        assert(workflow_step_find(w, view_of(s->id)) == (int)i);
        assert(s->timeout_ms > 0 && s->concurrency >= 1 && s->retry.max_attempts >= 1 && s->spec);
        for (size_t k = 0; k < s->need_count; k++) assert(s->needs[k] < i);
    }
    workflow_free(w);
    return 0;
}
