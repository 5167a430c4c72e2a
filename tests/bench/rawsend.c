/* The limit of fan-out: the same frames at the same pace to the same number of sockets, with
 * nothing between the clock and send().
 *
 *   rawsend --watchers N --streams S --rate E --seconds T
 *
 * Prints `port P`; takes N connections, answers each with the head of a chunked event stream; says
 * `ready`; at the line `start` makes E events a second over S streams, round robin, and sends each
 * to the N / S sockets of its stream. One line of JSON: deliveries, those that did not fit, CPU. */
#include "tests/bench/bench.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

enum { RAW_SOCKETS_MAX = 19000, RAW_TICK_US = 1000 };

struct raw {
    int *fds;
    size_t count, streams;
    uint64_t *seqs, sent, refused;
};

static int raw_listen(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t len = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 4096) != 0)
        bench_die("cannot listen");
    getsockname(fd, (struct sockaddr *)&at, &len);
    printf("port %d\n", ntohs(at.sin_port));
    fflush(stdout);
    return fd;
}

static void raw_accept(struct raw *r, int listener)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n";
    for (size_t i = 0; i < r->count; i++) {
        char in[4096];
        int on = 1;
        r->fds[i] = accept(listener, NULL, NULL);
        if (r->fds[i] < 0 || recv(r->fds[i], in, sizeof in, 0) <= 0) bench_die("cannot accept");
        setsockopt(r->fds[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (send(r->fds[i], head, sizeof head - 1, MSG_NOSIGNAL) < 0) bench_die("cannot answer");
    }
    printf("ready\n");
    fflush(stdout);
}

static void raw_event(struct raw *r, size_t stream)
{
    static const char id[] = "0193b0a0-0000-7000-8000-000000000000";
    char data[512], frame[1024];
    uint64_t seq = ++r->seqs[stream];
    int len = bench_event(data, sizeof data, id, seq, bench_now_us());
    int body = 4 + 27 + 1 + 18 + 6 + len + 2;
    int all =
        snprintf(frame, sizeof frame,
                 "%x\r\nid: %016" PRIu64 "-%010" PRIu64 "\nevent: step.delta\ndata: %s\n\n\r\n",
                 (unsigned)body, (uint64_t)1790000000000, seq, data);
    size_t each = r->count / r->streams;
    for (size_t i = stream * each; i < (stream + 1) * each; i++) {
        if (send(r->fds[i], frame, (size_t)all, MSG_NOSIGNAL | MSG_DONTWAIT) == all)
            r->sent++;
        else
            r->refused++;
    }
}

static void raw_run(struct raw *r, long rate, long seconds)
{
    int64_t start = bench_now_us();
    uint64_t made = 0, all = (uint64_t)rate * (uint64_t)seconds;
    size_t stream = 0;
    while (made < all) {
        int64_t past = bench_now_us() - start;
        uint64_t due = (uint64_t)((double)past / 1e6 * (double)rate) + 1;
        for (; made < due && made < all; made++) {
            raw_event(r, stream);
            stream = (stream + 1) % r->streams;
        }
        if (made < all) usleep(RAW_TICK_US); /* the pace of the load */
    }
}

int main(int argc, char **argv)
{
    struct raw r = {.count = (size_t)bench_number(argc, argv, "--watchers", 1)};
    r.streams = (size_t)bench_number(argc, argv, "--streams", 1);
    if (r.count < 1 || r.count > RAW_SOCKETS_MAX || r.streams < 1 || r.streams > r.count)
        bench_die("see the head");
    r.fds = bench_alloc(r.count, sizeof r.fds[0]);
    r.seqs = bench_alloc(r.streams, sizeof r.seqs[0]);
    /* The client opens its watchers in turn over the streams; here a stream's sockets are together,
     * which is all the same to it: every socket sees one stream. */
    int listener = raw_listen();
    char line[64];
    raw_accept(&r, listener);
    if (!fgets(line, sizeof line, stdin)) return 1;
    int64_t start = bench_now_us(), cpu = bench_cpu_us();
    raw_run(&r, bench_number(argc, argv, "--rate", 1), bench_number(argc, argv, "--seconds", 1));
    cpu = bench_cpu_us() - cpu;
    printf("{\"deliveries\":%" PRIu64 ",\"refused\":%" PRIu64
           ",\"seconds\":%.3f,\"cpu_us\":%.2f}\n",
           r.sent, r.refused, (double)(bench_now_us() - start) / 1e6,
           (double)cpu / (double)(r.sent ? r.sent : 1));
    fflush(stdout);
    (void)!fgets(line, sizeof line, stdin); /* the sockets live until the client has read them */
    return r.refused ? 1 : 0;
}
