/* Any bytes as JSON: what json_check accepts must load, must be found by raw access member by
 * member, and must be accepted again when written. What it refuses has a pointer. */
#include <jansson.h>

#include "common/base/json.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct json_limits limits = {.bytes_max = 1 << 20, .depth_max = 40, .nodes_max = 4000};

static void fuzz_walk(struct view value, const json_t *tree)
{
    struct view key, item, found;
    struct buf name;
    size_t at = 0;
    buf_init(&name, value.len);
    for (size_t cursor = 0; json_raw_each(value, &cursor, &key, &item); at++) {
        const json_t *child = json_array_get(tree, at);
        if (key.ptr) {
            buf_reset(&name);
            assert(json_raw_string(view_make(key.ptr - 1, key.len + 2), &name));
            assert(json_raw_member(value, buf_view(&name), &found) && found.ptr == item.ptr);
            child = json_object_getn(tree, name.len ? name.data : "", name.len);
        }
        assert(child && (json_raw_kind(item) == JSON_RAW_ARRAY) == json_is_array(child));
        fuzz_walk(item, child);
    }
    assert(at == json_array_size(tree) + json_object_size(tree));
    buf_fini(&name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct view text = view_make(size ? data : (const uint8_t *)"", size);
    struct err err = {.where = ""};
    json_t *tree = NULL;
    if (json_load(text, &limits, &tree, &err) != ERR_OK) {
        assert(err.code == ERR_INVALID || err.code == ERR_TOO_LARGE);
        for (size_t cursor = 0; json_raw_each(text, &cursor, NULL, NULL);) continue;
        return 0;
    }
    struct buf out;
    buf_init(&out, 16 << 20);
    assert(json_put(&out, tree) && json_check(buf_view(&out), &limits, &err) == ERR_OK);
    fuzz_walk(text, tree);
    json_decref(tree);
    buf_fini(&out);
    return 0;
}
