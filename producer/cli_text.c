/* Clean text and its width.
 *
 * What is hard: a model's text, a tenant's metadata and a provider's error end up on an operator's
 * terminal, and a terminal obeys what it is shown. So nothing is printed that was not cleaned here.
 * Widths decide where a redrawn line wraps, so they are ours and not the locale's: a compact table
 * of what is zero and two columns wide, enough for the scripts and signs that models write. */
#include "producer/cli_text.h"

#include "common/base/utf8.h"

enum { REPLACEMENT = 0xFFFD };

struct range {
    uint32_t first, last;
};

static const struct range zero_wide[] = {
    {0x0300, 0x036F}, {0x0483, 0x0489}, {0x0591, 0x05BD}, {0x0610, 0x061A},   {0x064B, 0x065F},
    {0x06D6, 0x06DC}, {0x0900, 0x0902}, {0x093C, 0x093C}, {0x0941, 0x0948},   {0x0E31, 0x0E31},
    {0x0E34, 0x0E3A}, {0x0E47, 0x0E4E}, {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF},   {0x200B, 0x200F},
    {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}, {0x1F3FB, 0x1F3FF}, {0xE0100, 0xE01EF},
};
static const struct range two_wide[] = {
    {0x1100, 0x115F},   {0x231A, 0x231B},   {0x23E9, 0x23EC},   {0x2614, 0x2615},
    {0x26A1, 0x26A1},   {0x2705, 0x2705},   {0x2728, 0x2728},   {0x274C, 0x274C},
    {0x2753, 0x2755},   {0x2795, 0x2797},   {0x2B50, 0x2B55},   {0x2E80, 0x303E},
    {0x3041, 0x33FF},   {0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xA000, 0xA4CF},
    {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},   {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},
    {0xFFE0, 0xFFE6},   {0x1F300, 0x1F64F}, {0x1F680, 0x1F6FF}, {0x1F7E0, 0x1F7EB},
    {0x1F900, 0x1F9FF}, {0x1FA70, 0x1FAFF}, {0x20000, 0x3FFFD},
};

static bool text_in(const struct range *ranges, size_t count, uint32_t c)
{
    for (size_t i = 0; i < count && c >= ranges[i].first; i++)
        if (c <= ranges[i].last) return true;
    return false;
}

static unsigned text_columns(uint32_t c)
{
    if (c < 0x300) return 1;
    if (text_in(zero_wide, sizeof zero_wide / sizeof *zero_wide, c)) return 0;
    return text_in(two_wide, sizeof two_wide / sizeof *two_wide, c) ? 2 : 1;
}

uint32_t cli_text_next(const char **at, const char *end)
{
    static const unsigned char masks[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    const unsigned char *p = (const unsigned char *)*at;
    unsigned len = utf8_length(*at, end);
    uint32_t c = REPLACEMENT;

    if (len > 0) c = p[0] & masks[len];
    for (unsigned i = 1; i < len; i++) c = c << 6 | (p[i] & 0x3F);
    *at += len > 0 ? len : 1;
    return c;
}

bool cli_text_is_unsafe(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x2028 || c == 0x2029 ||
           (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069) || c == 0xFEFF;
}

/* An absent view has no pointer to count from. */
static const char *text_end(struct view text)
{
    return text.len > 0 ? text.ptr + text.len : text.ptr;
}

bool cli_text_put(struct buf *out, struct view text, enum cli_lines lines)
{
    const char *at = text.ptr, *end = text_end(text);
    char bytes[4];

    while (at < end) {
        const char *from = at;
        uint32_t c = cli_text_next(&at, end);

        if (c == '\r' && at < end && *at == '\n') continue;
        if (c == '\n' && lines == CLI_MANY_LINES)
            buf_put_char(out, '\n');
        else if (c == '\n' || c == '\r' || c == '\t')
            buf_put_char(out, ' ');
        else if (cli_text_is_unsafe(c) || c == REPLACEMENT)
            buf_put(out, bytes, utf8_encode(REPLACEMENT, bytes));
        else
            buf_put(out, from, (size_t)(at - from));
    }
    return !out->failed;
}

unsigned cli_text_width(struct view text)
{
    const char *at = text.ptr, *end = text_end(text);
    unsigned width = 0;

    while (at < end) width += text_columns(cli_text_next(&at, end));
    return width;
}

/* The longest head of text that takes at most so many columns, line ends not looked at. */
static struct view text_fit(struct view text, unsigned columns, unsigned *ret_width)
{
    const char *at = text.ptr, *end = text_end(text), *cut = at;
    unsigned width = 0;

    while (at < end) {
        unsigned more = text_columns(cli_text_next(&at, end));
        if (width + more > columns) break;
        width += more;
        cut = at;
    }
    *ret_width = width;
    return view_make(text.ptr, (size_t)(cut - text.ptr));
}

bool cli_text_put_cell(struct buf *out, struct view text, unsigned columns)
{
    unsigned width;
    struct view head = text_fit(text, columns, &width);

    if (head.len < text.len && columns > 0) {
        head = text_fit(text, columns - 1, &width);
        buf_put_view(out, head);
        buf_put_str(out, "\xE2\x80\xA6"); /* an ellipsis */
        width++;
    } else {
        buf_put_view(out, head);
    }
    for (; width < columns; width++) buf_put_char(out, ' ');
    return !out->failed;
}

bool cli_text_take_row(struct view *rest, unsigned columns, struct view *ret_row)
{
    struct view line = *rest, after = VIEW_NONE;
    unsigned width;

    if (rest->len == 0) return false;
    bool ends = view_cut(*rest, '\n', &line, &after);
    struct view row = text_fit(line, columns, &width);
    if (row.len == line.len) {
        *ret_row = line;
        *rest = ends ? after : view_make(line.ptr + line.len, 0);
        return true;
    }
    size_t cut = row.len; /* at a space when there is one in the second half */
    while (cut > row.len / 2 && row.ptr[cut - 1] != ' ') cut--;
    if (cut <= row.len / 2) cut = row.len;
    *ret_row = view_make(row.ptr, cut);
    *rest = view_make(row.ptr + cut, rest->len - cut);
    return true;
}

void cli_text_duration(int64_t ms, char ret[CLI_DURATION_TEXT])
{
    const long long s = ms > 0 ? (long long)(ms / 1000) : 0;

    if (ms < 1000)
        snprintf(ret, CLI_DURATION_TEXT, "%dms", ms > 0 ? (int)ms : 0);
    else if (s < 60)
        snprintf(ret, CLI_DURATION_TEXT, "%lld.%ds", s, (int)(ms / 100 % 10));
    else if (s < 3600)
        snprintf(ret, CLI_DURATION_TEXT, "%lldm%02llds", s / 60, s % 60);
    else if (s < 86400)
        snprintf(ret, CLI_DURATION_TEXT, "%lldh%02lldm", s / 3600, s / 60 % 60);
    else
        snprintf(ret, CLI_DURATION_TEXT, "%lldd%02lldh", s / 86400, s / 3600 % 24);
}
