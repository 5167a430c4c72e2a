#ifndef PRODUCER_CLI_TERM_H
#define PRODUCER_CLI_TERM_H
#include "common/base/buf.h"
#include "common/base/err.h"

/* The tool's own end of the world: terminal, standard input and output, files, secret random bytes.
 * Everything blocks: there is nobody else to serve. */
enum { CLI_STDIN, CLI_STDOUT, CLI_STDERR };

/* Writes all of text. False: nobody reads any more, or the disk is full. */
bool cli_term_write(int fd, struct view text);
/* A line of our own to standard error: "sluice: " and the text. */
void cli_term_say(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* A terminal that can move its cursor. */
bool cli_term_is_screen(int fd);
bool cli_term_is_terminal(int fd);
bool cli_term_has_color(int fd); /* and NO_COLOR is not set */
void cli_term_size(int fd, unsigned *ret_columns, unsigned *ret_rows);

/* Appends a file's bytes, or standard input's for path NULL. ERR_NOT_FOUND, ERR_TOO_LARGE (over
 * out->max); text names the path. */
MUST_CHECK enum err_code cli_term_read(const char *path, struct buf *out, struct err *err);
MUST_CHECK enum err_code cli_term_random(unsigned char *ret, size_t len, struct err *err);

#endif
