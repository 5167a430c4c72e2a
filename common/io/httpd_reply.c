/* Answers: those the library sends, and the heads we write past it (streams, refusals in the middle
 * of a request).
 *
 * The body of an answer is copied into the request's own buffer, which outlives the library's use
 * of it and is kept with the recycled request: no allocation for it on the hot path. */
#include "common/io/httpd_priv.h"
#include <assert.h>

static const char *const REPLY_DAYS[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char *const REPLY_MONTHS[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                           "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

static const char *reply_date(struct httpd *s)
{
    int64_t now_s = loop_clock(s->loop)->wall_ms / 1000;
    if (now_s == s->date_s) return s->date;
    time_t t = (time_t)now_s;
    struct tm tm;
    if (!gmtime_r(&t, &tm)) return "Thu, 01 Jan 1970 00:00:00 GMT";
    snprintf(s->date, sizeof s->date, "%s, %02d %s %04d %02d:%02d:%02d GMT",
             REPLY_DAYS[tm.tm_wday % 7], tm.tm_mday % 100, REPLY_MONTHS[tm.tm_mon % 12],
             (tm.tm_year + 1900) % 10000, tm.tm_hour % 100, tm.tm_min % 100, tm.tm_sec % 100);
    s->date_s = now_s;
    return s->date;
}

static void reply_put_field(struct buf *b, const char *name, const char *value)
{
    if (!value || !value[0] || strpbrk(value, "\r\n")) return; /* as the library does: left out */
    buf_put_str(b, name);
    buf_put_str(b, ": ");
    buf_put_str(b, value);
    buf_put_str(b, "\r\n");
}

bool httpd_put_head(struct httpd *s, const struct httpd_answer *a, enum httpd_framing framing)
{
    struct buf *b = &s->message;
    buf_reset(b);
    buf_printf(b, "HTTP/1.1 %d %s\r\nDate: %s\r\n", a->status,
               MHD_get_reason_phrase_for((unsigned)a->status), reply_date(s));
    buf_put_str(b, "Connection: close\r\n");
    reply_put_field(b, "Content-Type", a->content_type);
    for (size_t i = 0; i < a->header_count; i++)
        reply_put_field(b, a->headers[i].name, a->headers[i].value);
    if (framing == HTTPD_BY_LENGTH) buf_printf(b, "Content-Length: %zu\r\n", a->body.len);
    if (framing == HTTPD_BY_CHUNKS) buf_put_str(b, "Transfer-Encoding: chunked\r\n");
    return buf_put_str(b, "\r\n");
}

/* The answer to a refusal; its body lies in s->refusal. */
static void reply_compose_refusal(struct httpd *s, int status, const char *reason,
                                  struct httpd_answer *a)
{
    *a = (struct httpd_answer){.status = status, .content_type = "text/plain", .close = true};
    if (status == 503)
        a->headers[a->header_count++] =
            (struct httpd_header_out){.name = "Retry-After", .value = "1"};
    buf_reset(&s->refusal);
    if (s->o.on_refuse) s->o.on_refuse(s->o.arg, status, reason, &s->refusal, &a->content_type);
    if (!s->o.on_refuse || s->refusal.failed) {
        buf_reset(&s->refusal);
        a->content_type = "text/plain";
        buf_put_str(&s->refusal, reason);
        buf_put_char(&s->refusal, '\n');
    }
    a->body = buf_view(&s->refusal);
}

bool httpd_put_refusal(struct httpd *s, int status, const char *reason)
{
    struct httpd_answer a;
    reply_compose_refusal(s, status, reason, &a);
    return httpd_put_head(s, &a, HTTPD_BY_LENGTH) && buf_put_view(&s->message, a.body);
}

static struct MHD_Response *reply_build(struct httpd_request *r, const struct httpd_answer *a)
{
    r->out.len = 0;
    if (a->body.len && !httpd_bytes_put(&r->out, a->body.ptr, a->body.len, a->body.len))
        return NULL;
    struct MHD_Response *response = MHD_create_response_from_buffer(
        r->out.len, r->out.ptr ? r->out.ptr : r->target_inline, MHD_RESPMEM_PERSISTENT);
    if (!response) return NULL;
    /* an empty value is refused by the library: left out, like a value with a line end */
    if (a->content_type) (void)MHD_add_response_header(response, "Content-Type", a->content_type);
    for (size_t i = 0; i < a->header_count; i++)
        (void)MHD_add_response_header(response, a->headers[i].name, a->headers[i].value);
    if (a->close) (void)MHD_add_response_header(response, "Connection", "close");
    return response;
}

static bool reply_queue(struct httpd_request *r, const struct httpd_answer *a)
{
    struct MHD_Response *response = reply_build(r, a);
    if (!response) return false;
    enum MHD_Result done = MHD_queue_response(r->conn->mhd, (unsigned)a->status, response);
    MHD_destroy_response(response);
    if (done != MHD_YES) return false;
    r->phase = HTTPD_PHASE_ANSWERED;
    httpd_conn_stage(r->conn, HTTPD_STAGE_SENDING);
    return true;
}

void httpd_reply(struct httpd_request *r, const struct httpd_answer *a)
{
    assert(r->phase == HTTPD_PHASE_ROOM &&
           a->header_count <= sizeof a->headers / sizeof a->headers[0]);
    if (r->is_aborted) return;
    if (!reply_queue(r, a))
        httpd_abort(r);
    else
        httpd_go_on(r);
}

enum MHD_Result httpd_refuse(struct httpd_request *r, int status, const char *reason)
{
    struct httpd_answer a;
    reply_compose_refusal(r->server, status, reason, &a);
    r->conn->wants_linger = true;
    return reply_queue(r, &a) ? MHD_YES : MHD_NO;
}
