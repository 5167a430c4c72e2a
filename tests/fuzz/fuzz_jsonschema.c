/* A stranger's schema and a stranger's value ({"s": schema, "v": [values]}): compiled or refused,
 * and every check ends. */
#include "common/base/json.h"
#include "schemas/jsonschema.h"
#include <assert.h>
#include <jansson.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct json_limits limits = {
        .bytes_max = 64 << 10, .depth_max = 64, .nodes_max = 10000};
    json_t *both = NULL, *value;
    struct jsonschema *s = NULL;
    struct err err = {.code = ERR_OK};
    size_t i;
    if (json_load(view_make(size ? (const void *)data : "", size), &limits, &both, &err) != ERR_OK)
        return 0;
    const json_t *schema = json_object_get(both, "s");
    if (schema && jsonschema_compile(schema, &s, &err) == ERR_OK) {
        json_array_foreach(json_object_get(both, "v"), i, value)
        {
            enum err_code code = jsonschema_check(s, value, "/input", &err);
            assert(code == ERR_OK || code == ERR_INVALID || code == ERR_TOO_LARGE);
            assert(code == jsonschema_check(s, value, "/input", NULL));
            assert(code == ERR_OK || strncmp(err.where, "/input", 6) == 0);
        }
    }
    jsonschema_free(s);
    json_decref(both);
    return 0;
}
