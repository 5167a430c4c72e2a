/* JSON for people.
 *
 * What is hard: to change nothing. Numbers keep their digits and strings their spelling, because
 * the bytes are walked, not parsed into a tree and written again. The walk is iterative over the
 * checked text, so depth costs nothing. */
#include "producer/cli_json.h"

#include "producer/cli_text.h"
#include "schemas/job.h"

enum { ANSWER_BYTES_MAX = 64 << 20, ANSWER_NODES_MAX = 4 << 20, REQUEST_NODES_MAX = 1 << 20 };

const struct json_limits *cli_json_answer_limits(void)
{
    static const struct json_limits limits = {ANSWER_BYTES_MAX, JSON_DEPTH_MAX, ANSWER_NODES_MAX};

    return &limits;
}

enum err_code cli_json_check(const char *what, struct view text, struct err *err)
{
    static const struct json_limits limits = {JOB_BYTES_MAX, JSON_DEPTH_MAX, REQUEST_NODES_MAX};
    struct err inner;
    enum err_code code = json_check(text, &limits, &inner);

    if (code == ERR_OK) return ERR_OK;
    if (!inner.where[0]) return err_set(err, code, "%s: %.200s", what, inner.text);
    return err_set(err, code, "%s: at %.80s: %.120s", what, inner.where, inner.text);
}

/* --- indenting --- */

static void json_put_line(struct buf *out, unsigned depth)
{
    buf_put_char(out, '\n');
    for (unsigned i = 0; i < depth; i++) buf_put_str(out, "  ");
}

static void json_put_char(struct buf *out, uint32_t c, struct view bytes)
{
    if (!cli_text_is_unsafe(c))
        buf_put_view(out, bytes);
    else
        buf_printf(out, "\\u%04x", (unsigned)c);
}

/* A string literal from its opening quote; returns what is behind it. */
static const char *json_put_string(struct buf *out, const char *at, const char *end)
{
    buf_put_char(out, *at++);
    while (at < end && *at != '"') {
        const char *from = at;
        uint32_t c = cli_text_next(&at, end);

        if (c == '\\' && at < end) at++;
        json_put_char(out, c, view_make(from, (size_t)(at - from)));
    }
    buf_put_char(out, '"');
    return at < end ? at + 1 : end;
}

static const char *json_skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n')) at++;
    return at;
}

static void json_walk(struct buf *out, struct view json)
{
    const char *at = json.ptr, *end = json.ptr + json.len;
    unsigned depth = 0;

    while ((at = json_skip_space(at, end)) < end) {
        char c = *at;

        if (c == '"') {
            at = json_put_string(out, at, end);
            continue;
        }
        at++;
        if (c == '{' || c == '[') {
            const char *next = json_skip_space(at, end);

            buf_put_char(out, c);
            if (next < end && (*next == '}' || *next == ']')) {
                buf_put_char(out, *next);
                at = next + 1;
            } else {
                json_put_line(out, ++depth);
            }
        } else if (c == '}' || c == ']') {
            json_put_line(out, --depth);
            buf_put_char(out, c);
        } else if (c == ',') {
            buf_put_char(out, c);
            json_put_line(out, depth);
        } else if (c == ':') {
            buf_put_str(out, ": ");
        } else {
            buf_put_char(out, c);
        }
    }
}

bool cli_json_put_pretty(struct buf *out, struct view json)
{
    if (json_check(json, cli_json_answer_limits(), NULL) != ERR_OK)
        return cli_text_put(out, json, CLI_MANY_LINES);
    json_walk(out, json);
    return !out->failed;
}

/* --- members --- */

struct view cli_json_raw(struct view object, const char *key)
{
    struct view value;

    if (json_raw_kind(object) != JSON_RAW_OBJECT) return VIEW_NONE;
    return json_raw_member(object, view_of(key), &value) ? value : VIEW_NONE;
}

bool cli_json_member(struct view object, const char *key, struct buf *ret)
{
    struct view value = cli_json_raw(object, key);

    if (!value.ptr || json_raw_kind(value) == JSON_RAW_NULL) return false;
    if (json_raw_kind(value) == JSON_RAW_STRING) return json_raw_string(value, ret);
    return buf_put_view(ret, value);
}

int64_t cli_json_int(struct view object, const char *key, int64_t fallback)
{
    int64_t n;

    return view_i64(cli_json_raw(object, key), &n) ? n : fallback;
}

bool cli_json_text(struct view object, const char *key, char *ret, size_t size)
{
    struct view value = cli_json_raw(object, key);
    struct buf text;
    bool ok = false;

    ret[0] = '\0';
    buf_init(&text, size);
    if (json_raw_kind(value) == JSON_RAW_STRING && json_raw_string(value, &text))
        ok = view_copy(buf_view(&text), ret, size) && strlen(ret) == text.len;
    buf_fini(&text);
    return ok;
}
