#ifndef SCHEMAS_JSONSCHEMA_H
#define SCHEMAS_JSONSCHEMA_H
#include "common/base/err.h"
#include "common/base/view.h"
struct json_t;

/* JSON Schema 2020-12, a named subset: type enum const properties required additionalProperties
 * patternProperties? propertyNames items prefixItems minItems maxItems uniqueItems contains
 * minLength maxLength pattern? format(uri email date-time uuid) minimum maximum exclusiveMinimum
 * exclusiveMaximum multipleOf minProperties maxProperties allOf anyOf oneOf not if then else $ref
 * (local, #/$defs) $defs and annotations (title description default examples $schema $id $comment).
 * Any other keyword is refused when compiled. schemas/README.md lists exactly what is in. Time is
 * bounded: a validation stops with ERR_TOO_LARGE after 100,000 steps. */
struct jsonschema;
MUST_CHECK enum err_code
jsonschema_compile(const struct json_t *schema, struct jsonschema **ret,
                   struct err *err); /* err.where: pointer into the schema */
void jsonschema_free(struct jsonschema *s);
/* err.where: JSON pointer into the instance, prefixed by `at` ("/input"). */
MUST_CHECK enum err_code jsonschema_check(const struct jsonschema *s, const struct json_t *instance,
                                          const char *at, struct err *err);

#endif
