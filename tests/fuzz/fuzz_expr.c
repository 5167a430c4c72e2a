/* Any text as a template: split, asked what it holds, filled. A split covers the text: literals and
 * sources lie within it, in order; filling agrees with splitting about what is well formed. */
#include "common/base/json.h"
#include "schemas/expr_priv.h"
#include <assert.h>
#include <jansson.h>

static void check_segments(struct view text, const struct expr_segment *list, size_t count)
{
    const char *at = text.ptr;
    for (size_t i = 0; i < count; i++) {
        assert(list[i].text.len > 0 && list[i].text.ptr >= at);
        at = list[i].text.ptr + list[i].text.len;
        assert(at <= text.ptr + text.len);
        assert((list[i].kind == EXPR_PATH) ==
               (list[i].kind != EXPR_LITERAL && expr_is_path(list[i].text)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct expr_segment list[EXPR_SEGMENTS_MAX];
    struct expr_value values[16];
    struct view names[16], text = view_make(size ? (const void *)data : "", size);
    size_t count = 0, asked = 0;
    struct err err = {.code = ERR_OK};
    json_t *tmpl = json_stringn(text.ptr, text.len), *got = NULL;
    json_t *root = json_pack("{s:{s:[i,s]}, s:{s:{s:o}}}", "input", "a", 1, "x", "steps", "b",
                             "output", json_null());
    enum err_code code = expr_split(text, list, EXPR_SEGMENTS_MAX, &count, &err);
    if (code == ERR_OK) check_segments(text, list, count);
    for (size_t i = 0; code == ERR_OK && i < count; i++)
        if (list[i].kind != EXPR_LITERAL) (void)expr_steps(list[i].text, names, 16);
    if (tmpl && expr_collect(tmpl, values, 16, &asked, &err) == ERR_OK) {
        for (size_t i = 0; i < asked; i++) values[i].value = json_true();
        if (expr_fill(tmpl, root, values, asked, &got, &err) == ERR_OK)
            assert(code == ERR_OK && got);
        json_decref(got);
    }
    json_decref(tmpl);
    json_decref(root);
    return 0;
}
