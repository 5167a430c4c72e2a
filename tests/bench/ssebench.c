/* Thousands of watchers in one process: N SSE streams over HTTP/1.1, each frame looked at.
 *
 *   ssebench --port P --ids FILE --watchers N --key K [--source 127.0.0.2] [--first seq]
 *            [--until-seq S]
 *
 * Watcher i reads job i mod (number of ids). Says `ready` when every watcher has its head and its
 * first event (--first none: its head); from the line `start` on standard input it counts (and says
 * `started`); at `stop N` it waits until it has N events, at most 10 s, and prints one line of
 * JSON. With --until-seq it ends by itself when every watcher has seen that seq, and times from the
 * request: the reader of a history.
 *
 * Checked: the status is 200, seq of every event follows the last one (holes, repeats are counted),
 * no stream ends. Latency: now minus the stamp in the event's text (see bench_event). The client's
 * CPU is printed too; it is not part of what is measured. */
#include "tests/bench/bench.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { SSE_WATCHERS_MAX = 19000, SSE_TURN = 512, SSE_READ = 1 << 18, SSE_PENDING_MAX = 256 };
enum chunk_state {
    CHUNK_HEAD,
    CHUNK_SIZE,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF
};

struct watch {
    int fd;
    bool is_ready, is_done;
    enum chunk_state state;
    size_t chunk_left, len, cap;
    char *part; /* a frame, or the head, that is not whole yet */
    uint64_t seq;
};

struct bench {
    struct watch *watches;
    struct ids ids;
    size_t count, opened, ready, done;
    int ep, port;
    const char *key, *source;
    bool needs_event, is_counting;
    uint64_t until_seq, expected, events, bytes, holes, repeats, closed;
    struct lat lat;
};

static void watch_keep(struct watch *w, const char *bytes, size_t len)
{
    enum { PART_MAX = 1 << 20 };
    if (w->len + len > PART_MAX) bench_die("a frame is too long");
    if (w->len + len > w->cap) {
        w->cap = (w->len + len) * 2 < 512 ? 512 : (w->len + len) * 2;
        w->part = realloc(w->part, w->cap);
        if (!w->part) bench_die("no memory");
    }
    memcpy(w->part + w->len, bytes, len);
    w->len += len;
}

static void watch_note_ready(struct bench *b, struct watch *w)
{
    if (!w->is_ready) {
        w->is_ready = true;
        b->ready++;
    }
}

static void watch_stamp(struct bench *b, const char *end)
{
    if (end[-1] != '}' || end[-2] != '"' || end[-19] != '"') return;
    int64_t at = 0;
    for (const char *p = end - 18; p < end - 2; p++) {
        if (*p < '0' || *p > '9') return;
        at = at * 10 + (*p - '0');
    }
    lat_add(&b->lat, bench_now_us() - at);
}

/* One frame without its blank line. */
static void watch_frame(struct bench *b, struct watch *w, const char *frame, size_t len)
{
    enum { ID_DIGITS = 4 + 17 };
    if (len < ID_DIGITS + 10 || memcmp(frame, "id: ", 4) != 0) return; /* retry, heartbeat, reset */
    uint64_t seq = 0;
    for (int i = 0; i < 10; i++) seq = seq * 10 + (uint64_t)(frame[ID_DIGITS + i] - '0');
    if (w->seq && seq > w->seq + 1) b->holes++;
    if (seq <= w->seq) b->repeats++;
    w->seq = seq;
    watch_note_ready(b, w);
    if (b->is_counting) {
        b->events++;
        if (!b->until_seq) watch_stamp(b, frame + len);
    }
    if (b->until_seq && seq >= b->until_seq && !w->is_done) {
        w->is_done = true;
        b->done++;
    }
}

static void watch_text(struct bench *b, struct watch *w, const char *text, size_t len)
{
    if (b->is_counting) b->bytes += len;
    if (w->len) {
        watch_keep(w, text, len);
        text = w->part;
        len = w->len;
    }
    const char *p = text, *end = text + len, *stop;
    while ((stop = memmem(p, (size_t)(end - p), "\n\n", 2))) {
        watch_frame(b, w, p, (size_t)(stop - p));
        p = stop + 2;
    }
    size_t left = (size_t)(end - p);
    if (text == w->part) {
        memmove(w->part, p, left);
        w->len = left;
    } else if (left) {
        watch_keep(w, p, left);
    }
}

/* The head, as far as it is in; returns how many of the bytes belong to it. */
static size_t watch_head(struct bench *b, struct watch *w, const char *bytes, size_t len)
{
    size_t had = w->len;
    watch_keep(w, bytes, len);
    const char *end = memmem(w->part, w->len, "\r\n\r\n", 4);
    if (!end) return len;
    if (strncmp(w->part, "HTTP/1.1 200", 12) != 0) {
        fprintf(stderr, "ssebench: %.*s\n", (int)(w->len < 300 ? w->len : 300), w->part);
        bench_die("a watcher was refused");
    }
    size_t used = (size_t)(end - w->part) + 4 - had;
    w->len = 0;
    w->state = CHUNK_SIZE;
    if (!b->needs_event) watch_note_ready(b, w);
    return used;
}

static size_t watch_chunk_size(struct watch *w, const char *bytes, size_t len)
{
    size_t i = 0;
    for (; i < len && bytes[i] != '\r'; i++) {
        char c = bytes[i];
        unsigned digit = c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 32) - 'a') + 10;
        w->chunk_left = w->chunk_left * 16 + digit;
    }
    if (i == len) return len;
    w->state = CHUNK_SIZE_LF;
    return i + 1;
}

static void watch_bytes(struct bench *b, struct watch *w, const char *bytes, size_t len)
{
    while (len) {
        size_t n = 1;
        switch (w->state) {
        case CHUNK_HEAD:
            n = watch_head(b, w, bytes, len);
            break;
        case CHUNK_SIZE:
            n = watch_chunk_size(w, bytes, len);
            break;
        case CHUNK_SIZE_LF:
            w->state = CHUNK_DATA;
            break;
        case CHUNK_DATA:
            n = len < w->chunk_left ? len : w->chunk_left;
            watch_text(b, w, bytes, n);
            w->chunk_left -= n;
            if (!w->chunk_left) w->state = CHUNK_DATA_CR;
            break;
        case CHUNK_DATA_CR:
            w->state = CHUNK_DATA_LF;
            break;
        case CHUNK_DATA_LF:
            w->state = CHUNK_SIZE;
            break;
        }
        bytes += n;
        len -= n;
    }
}

static void watch_read(struct bench *b, struct watch *w)
{
    static char in[SSE_READ];
    ssize_t n = recv(w->fd, in, sizeof in, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        b->closed++;
        close(w->fd);
        w->fd = -1;
        return;
    }
    watch_bytes(b, w, in, (size_t)n);
}

static void watch_open(struct bench *b, struct watch *w, const char *id)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)b->port)};
    struct sockaddr_in from = {.sin_family = AF_INET};
    char request[512];
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    inet_pton(AF_INET, b->source, &from.sin_addr);
    w->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (w->fd < 0 || bind(w->fd, (struct sockaddr *)&from, sizeof from) != 0 ||
        connect(w->fd, (struct sockaddr *)&to, sizeof to) != 0)
        bench_die("cannot connect");
    int len = snprintf(request, sizeof request,
                       "GET /v1/jobs/%s/events HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                       "Authorization: Bearer %s\r\nAccept: text/event-stream\r\n\r\n",
                       id, b->key);
    if (send(w->fd, request, (size_t)len, MSG_NOSIGNAL) != len) bench_die("cannot ask");
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = w};
    epoll_ctl(b->ep, EPOLL_CTL_ADD, w->fd, &ev);
}

static void bench_turn(struct bench *b, int wait_ms)
{
    struct epoll_event evs[SSE_TURN];
    int n = epoll_wait(b->ep, evs, SSE_TURN, wait_ms);
    for (int i = 0; i < n; i++)
        if (evs[i].data.ptr) watch_read(b, evs[i].data.ptr);
}

static void bench_open(struct bench *b)
{
    int64_t until = bench_now_us() + 60 * 1000000LL;
    while (b->ready < b->count) {
        while (b->opened < b->count && b->opened - b->ready < SSE_PENDING_MAX) {
            watch_open(b, &b->watches[b->opened], b->ids.id[b->opened % b->ids.count]);
            b->opened++;
        }
        bench_turn(b, 100);
        if (b->closed) bench_die("a stream ended while the others were being opened");
        if (bench_now_us() > until) bench_die("not all watchers came up in 60 s");
    }
}

static void bench_print(struct bench *b, double seconds, int64_t cpu)
{
    printf("{\"watchers\":%zu,\"events\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"seconds\":%.4f,"
           "\"per_s\":%.0f,\"holes\":%" PRIu64 ",\"repeats\":%" PRIu64 ",\"closed\":%" PRIu64
           ",\"cpu_us\":%.2f,",
           b->count, b->events, b->bytes, seconds, (double)b->events / seconds, b->holes,
           b->repeats, b->closed, (double)cpu / (double)(b->events ? b->events : 1));
    lat_print(&b->lat);
    printf("}\n");
}

static void bench_history(struct bench *b)
{
    b->is_counting = true;
    int64_t start = bench_now_us(), cpu = bench_cpu_us();
    for (; b->opened < b->count; b->opened++)
        watch_open(b, &b->watches[b->opened], b->ids.id[b->opened % b->ids.count]);
    while (b->done < b->count && !b->closed && bench_now_us() < start + 60 * 1000000LL)
        bench_turn(b, 1000);
    bench_print(b, (double)(bench_now_us() - start) / 1e6, bench_cpu_us() - cpu);
    if (b->done < b->count) bench_die("the history did not come to its end");
}

/* Reads a line of standard input when there is one: 's' start, 'q' stop or its end, else ' '. */
static char bench_command(struct bench *b)
{
    char line[64] = "";
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    if (poll(&in, 1, 0) <= 0) return ' ';
    ssize_t n = read(STDIN_FILENO, line, sizeof line - 1);
    if (n <= 0) return 'q';
    if (sscanf(line, "stop %" SCNu64, &b->expected) == 1) return 'q';
    return 's';
}

static void bench_live(struct bench *b)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    int64_t start = bench_now_us(), cpu = bench_cpu_us(), until;
    bench_open(b);
    epoll_ctl(b->ep, EPOLL_CTL_ADD, STDIN_FILENO, &ev);
    printf("ready\n");
    fflush(stdout);
    for (char c; (c = bench_command(b)) != 'q'; bench_turn(b, 1000)) {
        if (c != 's') continue;
        b->is_counting = true;
        start = bench_now_us();
        cpu = bench_cpu_us();
        printf("started\n");
        fflush(stdout);
    }
    epoll_ctl(b->ep, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    until = bench_now_us() + 10 * 1000000LL;
    while (b->events < b->expected && bench_now_us() < until) bench_turn(b, 10);
    bench_print(b, (double)(bench_now_us() - start) / 1e6, bench_cpu_us() - cpu);
}

int main(int argc, char **argv)
{
    struct bench b = {.count = (size_t)bench_number(argc, argv, "--watchers", 1)};
    b.port = (int)bench_number(argc, argv, "--port", 0);
    b.key = bench_word(argc, argv, "--key", "");
    b.source = bench_word(argc, argv, "--source", "127.0.0.1");
    b.needs_event = strcmp(bench_word(argc, argv, "--first", "seq"), "none") != 0;
    b.until_seq = (uint64_t)bench_number(argc, argv, "--until-seq", 0);
    b.ids = ids_read(bench_word(argc, argv, "--ids", ""));
    if (b.count < 1 || b.count > SSE_WATCHERS_MAX || !b.ids.count) bench_die("see the head");
    b.watches = bench_alloc(b.count, sizeof b.watches[0]);
    b.ep = epoll_create1(EPOLL_CLOEXEC);
    if (b.until_seq)
        bench_history(&b);
    else
        bench_live(&b);
    return b.holes || b.repeats || b.closed ? 1 : 0;
}
