/* The strict reading of a head.
 *
 * What is hard: the library parses in place and is lenient. Of what reaches us as "name, value" it
 * has accepted a bare LF as a line end, a NUL in a value (cutting it there), folded lines, blanks
 * before the colon and in the target, two Content-Lengths, a Content-Length beside a
 * Transfer-Encoding. Reading the bytes ourselves before it does (MSG_PEEK) would cost a system call
 * a request, and would race with its own read.
 *
 * What was chosen: walk the bytes after it. Parsing in place means that it overwrote the colon of
 * each line with one NUL and CRLF with two, a bare LF with one. So the strings it gives us must
 * stand exactly one behind the other: name, NUL, blanks, value, NUL NUL, next name ... and the last
 * NUL NUL ends the head. A bare LF leaves one NUL, a NUL of the client's an early end, a folded
 * line a string that stands elsewhere: each breaks the chain, and so would any change of the
 * library's ways, which fails closed. A later library (1.0) has strict parsing of its own and no
 * such chain: the caller then says so (is_in_place) and the walk is left out, not the rules about
 * the fields. */
#include "common/io/httpd_head.h"

enum { IS_TOKEN = 1, IS_VALUE = 2, IS_TARGET = 4, IS_HOST = 8 };

/* RFC 9110: token, field-vchar with blanks; RFC 3986: what may stand in a target, in a host. */
static unsigned char_class(unsigned char c)
{
    if (c == '\t') return IS_VALUE;
    if (c == ' ') return IS_VALUE;
    if (c < 0x21 || c == 0x7f) return 0;
    if (c >= 0x80) return IS_VALUE;
    if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'))
        return IS_TOKEN | IS_VALUE | IS_TARGET | IS_HOST;
    unsigned is = IS_VALUE;
    if (strchr("!#$%&'*+-.^_`|~", c)) is |= IS_TOKEN;
    if (!strchr("\"<>\\^`{|}#", c)) is |= IS_TARGET;
    if (strchr("-._~:[]%!$&'()*+;=", c)) is |= IS_HOST;
    return is;
}

static bool is_all(struct view v, unsigned wanted)
{
    for (size_t i = 0; i < v.len; i++) {
        unsigned char c = (unsigned char)v.ptr[i];
        /* letters, digits and the minus sign are most of every head */
        bool is_plain =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || (c >= '0' && c <= '9');
        if (!is_plain && !(char_class(c) & wanted)) return false;
    }
    return true;
}

static void head_refuse(struct httpd_head *h, int status, const char *reason)
{
    if (h->status) return;
    h->status = status;
    h->reason = reason;
}

void httpd_head_begin(struct httpd_head *h, const struct httpd_head_line *line)
{
    *h = (struct httpd_head){.status = 0};
    h->is_http10 = strcmp(line->version, "HTTP/1.0") == 0;
    struct view method = view_of(line->method);
    if (!method.len || !is_all(method, IS_TOKEN)) head_refuse(h, 400, "malformed method");
    if (!line->raw.len || !is_all(line->raw, IS_TARGET))
        head_refuse(h, 400, "malformed request target");
    if (line->head_len > line->head_max) head_refuse(h, 431, "request head too large");
    if (!line->is_in_place || !line->head_len) return;
    h->end = line->method + line->head_len;
    h->at = line->version + 8; /* "HTTP/1.1" */
    if (line->target != line->method + method.len + 1 ||
        line->version != line->target + line->raw.len + 1)
        head_refuse(h, 400, "malformed request line");
    else if (h->end - h->at < 4 || h->at[0] || h->at[1])
        head_refuse(h, 400, "line end without CR");
    h->at += 2;
}

static void head_walk(struct httpd_head *h, struct view name, struct view value)
{
    if (!h->end || h->status) return;
    const char *colon = name.ptr + name.len;
    if (name.ptr != h->at || value.ptr <= colon || value.ptr + value.len + 4 > h->end || *colon) {
        head_refuse(h, 400, "malformed header line");
        return;
    }
    for (const char *p = colon + 1; p < value.ptr; p++)
        if (*p != ' ' && *p != '\t') head_refuse(h, 400, "malformed header line");
    if (value.ptr[value.len] || value.ptr[value.len + 1])
        head_refuse(h, 400, "line end without CR");
    h->at = value.ptr + value.len + 2;
}

static void head_length(struct httpd_head *h, struct view value)
{
    h->length_count++;
    if (h->length_count > 1) head_refuse(h, 400, "more than one Content-Length");
    uint64_t length;
    if (!view_u64(value, &length))
        head_refuse(h, 400, "malformed Content-Length");
    else if (length) {
        h->length = length;
        h->has_body = true;
    }
}

static void head_coding(struct httpd_head *h, struct view value)
{
    h->coding_count++;
    if (h->coding_count > 1) head_refuse(h, 400, "more than one Transfer-Encoding");
    if (!view_ieq_str(value, "chunked")) head_refuse(h, 501, "transfer encoding not supported");
    h->is_chunked = h->has_body = true;
}

void httpd_head_field(struct httpd_head *h, struct view name, struct view value)
{
    if (++h->field_count > HTTPD_HEAD_FIELDS_MAX) head_refuse(h, 431, "too many header fields");
    head_walk(h, name, value);
    if (!name.len || !is_all(name, IS_TOKEN)) head_refuse(h, 400, "malformed header name");
    if (!is_all(value, IS_VALUE)) head_refuse(h, 400, "malformed header value");
    value = view_trim(value);
    switch (name.len) {
    case 4:
        if (!view_ieq_str(name, "host")) break;
        h->host_count++;
        if (h->host_count > 1) head_refuse(h, 400, "more than one Host");
        if (!is_all(value, IS_HOST)) head_refuse(h, 400, "malformed Host");
        break;
    case 6:
        if (view_ieq_str(name, "expect") && !view_ieq_str(value, "100-continue"))
            head_refuse(h, 417, "expectation not known");
        break;
    case 14:
        if (view_ieq_str(name, "content-length")) head_length(h, value);
        break;
    case 17:
        if (view_ieq_str(name, "transfer-encoding")) head_coding(h, value);
        break;
    default:
        break;
    }
}

void httpd_head_end(struct httpd_head *h)
{
    if (h->end && !h->status && (h->at + 2 != h->end || h->at[0] || h->at[1]))
        head_refuse(h, 400, "malformed end of head");
    if (h->coding_count && h->length_count)
        head_refuse(h, 400, "Content-Length beside Transfer-Encoding");
    if (h->coding_count && h->is_http10) head_refuse(h, 400, "Transfer-Encoding in HTTP/1.0");
    if (!h->host_count && !h->is_http10) head_refuse(h, 400, "Host is missing");
}

void httpd_target_split(struct view target, struct view *ret_path, struct view *ret_query)
{
    size_t skip = view_starts(target, "http://") ? 7 : view_starts(target, "https://") ? 8 : 0;
    if (skip) {
        while (skip < target.len && target.ptr[skip] != '/' && target.ptr[skip] != '?') skip++;
        target = view_make(target.ptr + skip, target.len - skip);
    }
    struct view path, query;
    if (!view_cut(target, '?', &path, &query)) {
        path = target;
        query = VIEW_NONE;
    }
    *ret_path = path.len ? path : VIEW_LIT("/");
    *ret_query = query;
}

bool httpd_target_each(struct view query, size_t *cursor, struct view *ret_name,
                       struct view *ret_value)
{
    while (*cursor < query.len && query.ptr[*cursor] == '&') (*cursor)++;
    if (*cursor >= query.len) return false;
    struct view pair = view_make(query.ptr + *cursor, query.len - *cursor), rest;
    if (!view_cut(pair, '&', &pair, &rest)) rest = VIEW_NONE;
    *cursor += pair.len;
    if (!view_cut(pair, '=', ret_name, ret_value)) {
        *ret_name = pair;
        *ret_value = view_make(pair.ptr + pair.len, 0);
    }
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool httpd_target_decode(struct view raw, char *dst, size_t size)
{
    size_t at = 0;
    bool ok = size > 0;
    for (size_t i = 0; ok && i < raw.len; i++) {
        char c = raw.ptr[i] == '+' ? ' ' : raw.ptr[i];
        if (c == '%') {
            int high = i + 2 < raw.len ? hex_digit(raw.ptr[i + 1]) : -1;
            int low = i + 2 < raw.len ? hex_digit(raw.ptr[i + 2]) : -1;
            ok = high >= 0 && low >= 0;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (!c || at + 1 >= size) ok = false;
        if (ok) dst[at++] = c;
    }
    if (size) dst[ok ? at : 0] = '\0';
    return ok;
}
