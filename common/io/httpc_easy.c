/* One call: its request as options of libcurl, its reply as calls of the sink.
 *
 * What is hard: thousands of slow streams at once. Each holds one receive buffer (4 KB), no upload
 * buffer to speak of, no copy of its headers once they were handed over, and no copy of its request
 * body once the reply has begun and the library has sent all of it: prompts are the largest part of
 * a call by far.
 *
 * And a process may stand still between start and the moment the connection takes the request: who said
 * until when it may go out is asked about nothing in between, so the clock is read at that moment. */
#include "common/io/httpc_priv.h"
#include <curl/curl.h>
#include <strings.h>

/* --- request --- */

static bool easy_is_clean(struct view v)
{
    for (size_t i = 0; i < v.len; i++)
        if (v.ptr[i] == '\r' || v.ptr[i] == '\n' || v.ptr[i] == '\0') return false;
    return true;
}

static bool easy_add_line(struct http_call *call, const char *line)
{
    struct curl_slist *grown = curl_slist_append(call->header_lines, line);
    if (grown) call->header_lines = grown;
    return grown != NULL;
}

static enum err_code easy_add_headers(struct http_call *call, const struct http_request_out *req,
                                      struct err *err)
{
    struct buf line;
    bool has_type = false, ok = true;
    buf_init(&line, HTTPC_HEADER_BYTES_MAX);
    for (size_t i = 0; i < req->header_count && ok; i++) {
        const struct http_header *h = &req->headers[i];
        if (!h->name.len || !easy_is_clean(h->name) || !easy_is_clean(h->value)) {
            buf_fini(&line);
            return err_set(err, ERR_INVALID, "http: a header holds a line end");
        }
        has_type |= view_ieq_str(h->name, "content-type");
        buf_reset(&line);
        buf_put_view(&line, h->name);
        buf_put_str(&line, h->value.len ? ": " : ";"); /* the library's way to send an empty one */
        buf_put_view(&line, h->value);
        ok = buf_put_char(&line, '\0') && easy_add_line(call, line.data);
    }
    buf_fini(&line);
    /* no pause before a large body, no form type by default */
    ok = ok && easy_add_line(call, "Expect:") && (has_type || easy_add_line(call, "Content-Type:"));
    return ok ? ERR_OK : err_set(err, ERR_NOMEM, "http: headers too large");
}

static bool easy_set_url(CURL *easy, struct view url)
{
    char text[HTTPC_URL_MAX];
    bool is_tls = view_starts(url, "https://");
    if ((!is_tls && !view_starts(url, "http://")) || !easy_is_clean(url) ||
        !view_copy(url, text, sizeof text))
        return false;
    /* One TLS connection may carry many calls: wait to learn whether it does. Over plain HTTP/1.1
     * that wait would last until another call's first answer. */
    curl_easy_setopt(easy, CURLOPT_PIPEWAIT, is_tls ? 1L : 0L);
    return curl_easy_setopt(easy, CURLOPT_URL, text) == CURLE_OK;
}

static void easy_set_method(struct http_call *call, const char *method)
{
    CURL *easy = call->easy;
    if (strcmp(method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
        return;
    }
    if (call->body_len || strcmp(method, "POST") == 0) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body_len);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->body ? call->body : "");
    }
    if (strcmp(method, "GET") != 0 || call->body_len)
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
}

/* The connection stands, the request goes out when this returns OK. */
static int easy_on_ready(void *arg, char *to, char *from, int to_port, int from_port)
{
    struct http_call *call = arg;
    (void)to, (void)from, (void)to_port, (void)from_port;
    if (loop_now_ms() < call->send_by_ms) return CURL_PREREQFUNC_OK;
    err_set(&call->err, ERR_CLOSED, "http: too late to send");
    return CURL_PREREQFUNC_ABORT;
}

static void easy_set_ways(struct http_call *call, const struct http_request_out *req)
{
    CURL *easy = call->easy;
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT,
                     1L); /* else a cancel waits for a running name lookup */
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)HTTPC_RECEIVE_BYTES);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)HTTPC_UPLOAD_BYTES);
    if (req->send_by_ms > 0) {
        curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, easy_on_ready);
        curl_easy_setopt(easy, CURLOPT_PREREQDATA, call);
    }
    if (req->connect_timeout_ms > 0)
        curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)req->connect_timeout_ms);
    if (call->client->ca_file[0]) curl_easy_setopt(easy, CURLOPT_CAINFO, call->client->ca_file);
    if (call->client->user_agent[0])
        curl_easy_setopt(easy, CURLOPT_USERAGENT, call->client->user_agent);
}

/* --- reply --- */

static bool easy_refuse(struct http_call *call, enum err_code code, const char *text)
{
    err_set(&call->err, code, "http: %s", text);
    httpc_call_fail(call);
    return false;
}

/* The head is whole: hands it over as views into the lines kept. */
static void easy_give_head(struct http_call *call)
{
    struct http_header headers[HTTPC_HEADERS_MAX];
    struct view left = buf_view(&call->head), line;
    size_t count = 0;
    while (count < call->head_count && view_cut(left, '\n', &line, &left))
        if (view_cut(line, ':', &headers[count].name, &headers[count].value)) {
            headers[count].value = view_trim(headers[count].value);
            count++;
        }
    long status = 0;
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    call->has_head = true;
    if (call->sink.on_head) call->sink.on_head(call->arg, (int)status, headers, count);
    buf_fini(&call->head);
}

static bool easy_take_line(struct http_call *call, struct view line)
{
    long status = 0;
    if (call->has_head) return true; /* trailers */
    if (view_starts(line, "HTTP/")) {
        buf_reset(&call->head); /* an earlier one was of the 1xx kind */
        call->head_count = 0;
        return true;
    }
    if (view_trim(line).len) {
        /* not a field, or a folded one's second half */
        if (line.ptr[0] == ' ' || line.ptr[0] == '\t' || !memchr(line.ptr, ':', line.len))
            return true;
        if (call->head_count++ >= HTTPC_HEADERS_MAX || !buf_put_view(&call->head, line))
            return easy_refuse(call, ERR_TOO_LARGE, "the reply's head is too large");
        return true;
    }
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 200) easy_give_head(call);
    return true;
}

static size_t easy_on_header(char *bytes, size_t size, size_t count, void *arg)
{
    struct http_call *call = arg;
    if (!call->is_muted) (void)easy_take_line(call, view_make(bytes, size * count));
    return call->is_muted || call->stage == HTTPC_DEAD ? 0 : size * count;
}

static void easy_drop_body(struct http_call *call)
{
    curl_off_t sent = 0;
    curl_easy_getinfo(call->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
    if (!call->body || (size_t)sent < call->body_len) return;
    free(call->body);
    call->body = NULL;
}

static size_t easy_on_body(char *bytes, size_t size, size_t count, void *arg)
{
    struct http_call *call = arg;
    size_t len = size * count;
    if (call->is_muted || call->stage == HTTPC_DEAD) return 0;
    if (!call->last_byte_ms) easy_drop_body(call);
    call->last_byte_ms = loop_clock(call->client->loop)->mono_ms;
    if (len > call->body_max - call->body_got) {
        easy_refuse(call, ERR_TOO_LARGE, "the reply is too large");
        return 0;
    }
    call->body_got += len;
    if (call->sink.on_body) call->sink.on_body(call->arg, view_make(bytes, len));
    return call->is_muted || call->stage == HTTPC_DEAD ? 0 : len;
}

enum err_code httpc_easy_set(struct http_call *call, const struct http_request_out *req,
                             struct err *err)
{
    CURL *easy = call->easy;
    buf_init(&call->head, HTTPC_HEADER_BYTES_MAX);
    if (!easy_set_url(easy, req->url))
        return err_set(err, ERR_INVALID, "http: not an http or https URL");
    if (!req->method || !req->method[0] || strpbrk(req->method, " \r\n\t"))
        return err_set(err, ERR_INVALID, "http: malformed method");
    if (req->body.len) {
        call->body = view_dup(req->body);
        if (!call->body) return err_set(err, ERR_NOMEM, "http: no memory");
        call->body_len = req->body.len;
    }
    enum err_code code = easy_add_headers(call, req, err);
    if (code != ERR_OK) return code;
    easy_set_ways(call, req);
    easy_set_method(call, req->method);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, (struct curl_slist *)call->header_lines);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, easy_on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, easy_on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
    return ERR_OK;
}

void httpc_easy_drop(struct http_call *call)
{
    curl_slist_free_all(call->header_lines);
    call->header_lines = NULL;
    free(call->body);
    call->body = NULL;
    buf_fini(&call->head);
}

/* The library has a hundred ways to fail: those not here are a server out of reach. */
static const struct {
    CURLcode from;
    enum err_code code;
    const char *text;
} EASY_VERDICTS[] = {
    {CURLE_OPERATION_TIMEDOUT, ERR_TIMEOUT, "no connection in time"},
    {CURLE_OUT_OF_MEMORY, ERR_NOMEM, "no memory"},
    {CURLE_URL_MALFORMAT, ERR_INVALID, "malformed URL"},
    {CURLE_UNSUPPORTED_PROTOCOL, ERR_PROTOCOL, "the reply is not HTTP"}, /* HTTP/0.9 */
    {CURLE_WEIRD_SERVER_REPLY, ERR_PROTOCOL, "the reply is not HTTP"},
    {CURLE_HTTP2, ERR_PROTOCOL, "malformed HTTP/2"},
    {CURLE_HTTP2_STREAM, ERR_PROTOCOL, "malformed HTTP/2 stream"},
    {CURLE_PARTIAL_FILE, ERR_UNAVAILABLE, "the server closed in the middle of its reply"},
    {CURLE_GOT_NOTHING, ERR_UNAVAILABLE, "the server closed without a reply"},
};

enum err_code httpc_easy_verdict(const struct http_call *call, int code, struct err *err)
{
    if (call->err.code != ERR_OK) {
        *err = call->err;
        return err->code;
    }
    if (code == CURLE_OK && call->has_head) return ERR_OK;
    if (code == CURLE_OK) code = CURLE_GOT_NOTHING; /* the library takes half a head for a reply */
    for (size_t i = 0; i < sizeof EASY_VERDICTS / sizeof EASY_VERDICTS[0]; i++)
        if ((int)EASY_VERDICTS[i].from == code)
            return err_set(err, EASY_VERDICTS[i].code, "http: %s", EASY_VERDICTS[i].text);
    return err_set(err, ERR_UNAVAILABLE, "http: %s", curl_easy_strerror((CURLcode)code));
}
