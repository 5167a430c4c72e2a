/* The closed loop of the bench: N keep-alive connections, each sends its next job when the answer
 * to the last one is there.
 *
 *   jobload --port P --key K --body FILE --connections N (--jobs N | --seconds S) [--ids FILE]
 *
 * One line of JSON at the end. Everything but 202 is an error and counted; a connection that the
 * server closes is an error too and ends the run. Latency is from the send of the head to the last
 * byte of the answer. */
#include "tests/bench/bench.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { JOBLOAD_CONNECTIONS_MAX = 16384, JOBLOAD_ANSWER_MAX = 4096, JOBLOAD_TURN = 512 };

struct conn {
    int fd;
    int64_t sent_us;
    size_t len;
    char in[JOBLOAD_ANSWER_MAX];
};

struct load {
    char *request;
    size_t request_len;
    uint64_t asked, answered, errors, jobs_max;
    int64_t until_us;
    FILE *ids;
    struct lat lat;
};

static char *load_request(const char *key, const char *path, size_t *ret_len)
{
    enum { BODY_MAX = 1 << 20 };
    char *body = bench_alloc(BODY_MAX, 1);
    FILE *in = fopen(path, "r");
    if (!in) bench_die("cannot read the body");
    size_t len = fread(body, 1, BODY_MAX, in);
    fclose(in);
    char *all = bench_alloc(len + 512, 1);
    int head = snprintf(all, 512,
                        "POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n"
                        "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                        key, len);
    memcpy(all + head, body, len);
    free(body);
    *ret_len = (size_t)head + len;
    return all;
}

static bool load_may_ask(const struct load *l)
{
    return l->jobs_max ? l->asked < l->jobs_max : bench_now_us() < l->until_us;
}

static void conn_ask(struct load *l, struct conn *c)
{
    c->len = 0;
    c->sent_us = bench_now_us();
    l->asked++;
    /* A request is smaller than any socket buffer and the connection is idle: one send takes all.
     */
    if (send(c->fd, l->request, l->request_len, MSG_NOSIGNAL) != (ssize_t)l->request_len)
        bench_die("a request did not fit into the socket");
}

/* The whole answer is in: how long it is, or 0. */
static size_t answer_length(const struct conn *c)
{
    const char *end = memmem(c->in, c->len, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t head = (size_t)(end - c->in) + 4, body = 0;
    for (const char *p = c->in; p < end; p++)
        if ((p[0] == '\n') && strncasecmp(p + 1, "content-length:", 15) == 0)
            body = strtoul(p + 16, NULL, 10);
    return c->len >= head + body ? head + body : 0;
}

static void load_note_id(struct load *l, const struct conn *c)
{
    const char *at = memmem(c->in, c->len, "\"id\":\"", 6);
    if (at && at + 42 <= c->in + c->len) fprintf(l->ids, "%.36s\n", at + 6);
}

static void conn_read(struct load *l, struct conn *c)
{
    ssize_t n = recv(c->fd, c->in + c->len, sizeof c->in - 1 - c->len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) bench_die("the server closed a connection");
    c->len += (size_t)n;
    c->in[c->len] = '\0';
    if (!answer_length(c)) {
        if (c->len + 1 == sizeof c->in) bench_die("an answer is too long");
        return;
    }
    lat_add(&l->lat, bench_now_us() - c->sent_us);
    l->answered++;
    if (strncmp(c->in, "HTTP/1.1 202", 12) != 0) {
        if (l->errors++ < 3) fprintf(stderr, "jobload: %.400s\n", c->in);
    } else if (l->ids) {
        load_note_id(l, c);
    }
    if (load_may_ask(l)) conn_ask(l, c);
}

static void conn_open(struct conn *c, int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0)
        bench_die("cannot connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
}

static void load_run(struct load *l, struct conn *conns, size_t count, int port)
{
    int ep = epoll_create1(EPOLL_CLOEXEC);
    for (size_t i = 0; i < count; i++) {
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &conns[i]};
        conn_open(&conns[i], port);
        epoll_ctl(ep, EPOLL_CTL_ADD, conns[i].fd, &ev);
    }
    for (size_t i = 0; i < count && load_may_ask(l); i++) conn_ask(l, &conns[i]);
    while (l->answered < l->asked) {
        struct epoll_event evs[JOBLOAD_TURN];
        int n = epoll_wait(ep, evs, JOBLOAD_TURN, 30000);
        if (n == 0) bench_die("no answer for 30 s");
        for (int i = 0; i < n; i++) conn_read(l, evs[i].data.ptr);
    }
    close(ep);
}

int main(int argc, char **argv)
{
    struct load l = {.jobs_max = (uint64_t)bench_number(argc, argv, "--jobs", 0)};
    long count = bench_number(argc, argv, "--connections", 64);
    if (count < 1 || count > JOBLOAD_CONNECTIONS_MAX) bench_die("--connections is out of range");
    const char *ids = bench_word(argc, argv, "--ids", NULL);
    l.request = load_request(bench_word(argc, argv, "--key", ""),
                             bench_word(argc, argv, "--body", ""), &l.request_len);
    if (ids && !(l.ids = fopen(ids, "w"))) bench_die("cannot write the file of ids");
    struct conn *conns = bench_alloc((size_t)count, sizeof *conns);
    int64_t start = bench_now_us(), cpu = bench_cpu_us();
    l.until_us = start + bench_number(argc, argv, "--seconds", 5) * 1000000;
    load_run(&l, conns, (size_t)count, (int)bench_number(argc, argv, "--port", 0));
    double seconds = (double)(bench_now_us() - start) / 1e6;
    printf("{\"count\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"seconds\":%.3f,\"per_s\":%.0f,"
           "\"cpu_us\":%.2f,",
           l.answered, l.errors, seconds, (double)l.answered / seconds,
           (double)(bench_cpu_us() - cpu) / (double)(l.answered ? l.answered : 1));
    lat_print(&l.lat);
    printf("}\n");
    if (l.ids) fclose(l.ids);
    for (long i = 0; i < count; i++) close(conns[i].fd);
    free(conns);
    free(l.request);
    free(l.lat.us);
    return l.errors ? 1 : 0;
}
