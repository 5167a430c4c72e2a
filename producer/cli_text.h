#ifndef PRODUCER_CLI_TEXT_H
#define PRODUCER_CLI_TEXT_H
#include "common/base/buf.h"

/* Text for people. Pure. Whatever a server or a model wrote goes through here before a terminal
 * sees it: control characters, those that turn the direction of writing, and broken UTF-8 become
 * U+FFFD; tabs become spaces. */
enum cli_lines { CLI_ONE_LINE /* line ends become spaces */, CLI_MANY_LINES /* LF stays */ };

bool cli_text_put(struct buf *out, struct view text, enum cli_lines lines);
/* Columns that clean text takes: 0 for combining marks, 2 for wide characters. */
unsigned cli_text_width(struct view text);
/* Clean text cut to, or filled up to, exactly so many columns. */
bool cli_text_put_cell(struct buf *out, struct view text, unsigned columns);
/* Takes the next screen line off *rest (clean text): up to a line end or as much as fits columns
 * (>= 2). False: nothing left. */
bool cli_text_take_row(struct view *rest, unsigned columns, struct view *ret_row);
/* True for characters that may not reach a terminal as they are. */
bool cli_text_is_unsafe(uint32_t c);
/* Decodes the character at *at and moves past it; U+FFFD for a byte that is none. */
uint32_t cli_text_next(const char **at, const char *end);

enum { CLI_DURATION_TEXT = 24 };
/* "850ms", "2.4s", "3m05s", "2h07m", "3d04h". Below 0 counts as 0. */
void cli_text_duration(int64_t ms, char ret[CLI_DURATION_TEXT]);

#endif
