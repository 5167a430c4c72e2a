/* Any bytes as YAML: what is accepted is a tree that JSON can hold, and every place has a line. */
#include "common/base/json.h"
#include "common/base/yaml.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct json_limits limits = {
        .bytes_max = 64 << 20, .depth_max = 64, .nodes_max = 1000000};
    struct view text = view_make(size ? data : (const uint8_t *)"", size);
    struct yaml_doc *doc = NULL;
    struct err err = {.where = ""};
    if (yaml_parse(text, "f", &doc, &err) != ERR_OK) {
        assert(view_starts(view_of(err.where), "f:") && err.text[0]);
        return 0;
    }
    struct buf out;
    buf_init(&out, 64 << 20);
    assert(json_put(&out, yaml_root(doc)));
    assert(json_check(buf_view(&out), &limits, &err) == ERR_OK);
    size_t lines = 2;
    for (size_t i = 0; i < size; i++)
        lines += data[i] == '\n' || data[i] == '\r' || data[i] >= 0x80;
    assert(yaml_line(doc, "/0/a") >= 1 && yaml_line(doc, "/a/1/b") <= lines);
    buf_fini(&out);
    yaml_doc_free(doc);
    return 0;
}
