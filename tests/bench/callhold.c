/* What a streaming call over the network costs a process in memory: our HTTP client, plain or TLS,
 * and nothing else of a worker.
 *
 *   callhold --url U --calls N [--ca FILE]
 *
 * Some calls come first, so that what is made once (certificates, tables) is there already; then N
 * at once. When each has had its first bytes: the growth of the resident size, one line of JSON. */
#include "common/io/httpc.h"
#include "tests/bench/bench.h"

enum { HOLD_CALLS_MAX = 8000, HOLD_WARM = 20, HOLD_LIMIT_MS = 60000 };

struct hold_call {
    struct hold *hold;
    bool has_bytes;
};

struct hold {
    struct loop *loop;
    struct http_port http;
    struct view url;
    struct hold_call *calls;
    size_t started, streaming, wanted;
    long before_kb;
    struct timer limit;
};

static long hold_rss_kb(void)
{
    char line[256];
    long kb = 0;
    FILE *in = fopen("/proc/self/status", "r");
    if (!in) bench_die("no /proc");
    while (kb == 0 && fgets(line, sizeof line, in)) (void)sscanf(line, "VmRSS: %ld", &kb);
    fclose(in);
    return kb;
}

static void hold_start(struct hold *h, size_t until);

static void hold_streaming(struct hold *h)
{
    if (++h->streaming < h->started) return;
    if (h->before_kb == 0) {
        h->before_kb = hold_rss_kb();
        hold_start(h, HOLD_WARM + h->wanted);
        return;
    }
    printf("{\"kb_per_call\":%.2f,\"calls\":%zu}\n",
           (double)(hold_rss_kb() - h->before_kb) / (double)h->wanted, h->wanted);
    loop_stop(h->loop);
}

static void hold_on_head(void *arg, int status, const struct http_header *headers, size_t count)
{
    (void)arg, (void)headers, (void)count;
    if (status != 200) bench_die("the server does not stream");
}

static void hold_on_body(void *arg, struct view bytes)
{
    struct hold_call *c = arg;
    (void)bytes;
    if (c->has_bytes) return;
    c->has_bytes = true;
    hold_streaming(c->hold);
}

static void hold_on_end(void *arg, const struct err *e)
{
    (void)arg;
    bench_die(e ? e->text : "a stream ended");
}

static void hold_start(struct hold *h, size_t until)
{
    static const struct http_sink sink = {
        .on_head = hold_on_head, .on_body = hold_on_body, .on_end = hold_on_end};
    const struct http_request_out req = {.method = "POST",
                                         .url = h->url,
                                         .body = VIEW_LIT("{\"stream\":true}"),
                                         .connect_timeout_ms = HOLD_LIMIT_MS,
                                         .body_max = 64 << 20};
    for (; h->started < until; h->started++) {
        struct hold_call *c = &h->calls[h->started];
        struct err err = {.code = ERR_OK};
        c->hold = h;
        if (!h->http.start(h->http.self, &req, &sink, c, &err)) bench_die(err.text);
    }
}

static void hold_on_limit(void *arg)
{
    (void)arg;
    bench_die("the calls did not all come to stream");
}

int main(int argc, char **argv)
{
    struct err err = {.code = ERR_OK};
    struct hold h = {.url = view_of(bench_word(argc, argv, "--url", "")),
                     .wanted = (size_t)bench_number(argc, argv, "--calls", 1000)};
    if (h.wanted == 0 || h.wanted > HOLD_CALLS_MAX) bench_die("--calls is out of range");
    const struct httpc_options o = {.calls_max = HOLD_CALLS_MAX + HOLD_WARM,
                                    .connections_max = HOLD_CALLS_MAX + HOLD_WARM,
                                    .user_agent = "bench",
                                    .ca_file = bench_word(argc, argv, "--ca", NULL)};
    h.calls = bench_alloc(h.wanted + HOLD_WARM, sizeof *h.calls);
    h.loop = loop_new(&err);
    struct httpc *client = h.loop ? httpc_new(h.loop, &o, &err) : NULL;
    if (!client) bench_die(err.text);
    h.http = httpc_port(client);
    (void)timerq_set(loop_timers(h.loop), &h.limit, loop_clock(h.loop)->mono_ms + HOLD_LIMIT_MS,
                     hold_on_limit, &h);
    hold_start(&h, HOLD_WARM);
    loop_run(h.loop);
    return 0; /* the streams end with the process */
}
