#ifndef BASE_JSON_TEXT_H
#define BASE_JSON_TEXT_H
#include "common/base/json.h"

/* Shared by the json_*.c files alone. */

/* Reads the escape whose backslash is at p. Returns its length (2, 6 or 12) and the character in
 * *ret_char; 0 when it is none that we accept, with the reason in *ret_why. */
size_t json_escape_read(const char *p, const char *end, uint32_t *ret_char, const char **ret_why);
/* Decodes what stands between the quotes into out, which holds inner.len bytes. SIZE_MAX: a bad
 * escape. */
size_t json_text_decode(struct view inner, char *out);

#endif
