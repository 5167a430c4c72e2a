#ifndef SCHEMAS_EMBED_H
#define SCHEMAS_EMBED_H
#include <stddef.h>

/* Files built into the program by schemas/embed.sh (path relative to the checkout; a folder of
 * parts is one file, <folder>.lua). data is NUL-terminated. */
struct embed_file {
    const char *path;
    const unsigned char *data;
    size_t len;
};

/* Returns the file or NULL when it was not embedded. Borrowed for ever. */
const struct embed_file *embed_find(const char *path);

#endif
