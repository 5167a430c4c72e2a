#ifndef CONSUMER_JQ_HELPER_H
#define CONSUMER_JQ_HELPER_H
#include "common/base/buf.h"
#include <stdint.h>

/* The child process that runs strangers' jq (`consumer --jq-helper`, started by jq_pool). Frames on
 * its pipes, native byte order: in:  u32 source bytes, u32 root bytes, source, root (JSON text)
 *   out: u32 kind (enum jq_answer), u32 bytes, bytes (JSON text of the value, or a sentence) */
enum jq_answer { JQ_VALUE = 0, JQ_ERROR = 1, JQ_TOO_LARGE = 2 };
enum {
    JQ_SOURCE_MAX = 64 << 10,
    JQ_ROOT_MAX = 8 << 20,
    JQ_VALUE_MAX = 4 << 20,
    JQ_MEMORY_MAX = 512 << 20,
    JQ_CPU_SECONDS = 3
};

/* Serves until stdin ends. Returns the exit status. */
int jq_helper_main(void);

/* What a jq error may say: values in it are left out, since they are the user's. Pure; exposed for
 * its test. */
void jq_error_clean(struct view message, char *dst, size_t size);

#endif
