/* The floor of the gateway: common/io/httpd with a route that does nothing, under wrk. What a job
 * costs above this line is the gateway's own.
 *
 *   httpd_floor [--seconds N] [--serve]     one JSON line per case; --serve: only serve, print the
 * port, end with stdin
 *
 * Cases: get (answered at once), post (500 B body, answered at once), later (the same, answered
 * one to two milliseconds later, in batches, as delivery reports come). The server is a child; its
 * CPU time is read from its process clock before and after. */
#include "common/io/httpd.h"
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FLOOR_CONNECTIONS_MAX = 4096, FLOOR_LATER_MAX = 4096 };

struct floor_server {
    struct loop *loop;
    struct httpd *httpd;
    struct httpd_request *later[FLOOR_LATER_MAX];
    size_t later_count, ripe_count; /* those before ripe_count are a millisecond old */
    struct timer timer;
};

static void floor_answer(struct httpd_request *r)
{
    struct httpd_answer a = {
        .status = 202, .content_type = "application/json", .body = VIEW_LIT("{\"id\":\"0\"}")};
    a.headers[a.header_count++] =
        (struct httpd_header_out){.name = "Location", .value = "/v1/jobs/0"};
    httpd_reply(r, &a);
}

static void floor_on_request(void *arg, struct httpd_request *r)
{
    struct floor_server *f = arg;
    if (view_eq_str(httpd_path(r), "/later") && f->later_count < FLOOR_LATER_MAX)
        f->later[f->later_count++] = r;
    else
        floor_answer(r);
}

static void floor_tick(void *arg)
{
    struct floor_server *f = arg;
    for (size_t i = 0; i < f->ripe_count; i++) floor_answer(f->later[i]);
    f->later_count -= f->ripe_count;
    memmove(f->later, f->later + f->ripe_count, f->later_count * sizeof f->later[0]);
    f->ripe_count = f->later_count;
    timerq_set(loop_timers(f->loop), &f->timer, loop_clock(f->loop)->mono_ms + 1, floor_tick, f);
}

static void floor_on_stdin(void *arg, int events)
{
    (void)events;
    char byte;
    if (read(STDIN_FILENO, &byte, 1) <= 0) loop_stop(((struct floor_server *)arg)->loop);
}

static int floor_serve(int port_fd)
{
    struct err err = {.code = ERR_OK};
    struct floor_server f = {.loop = loop_new(&err)};
    struct log *log = log_new("httpd_floor", LOG_ERROR, loop_clock(f.loop), NULL, NULL);
    struct httpd_options o = {
        .listen = "127.0.0.1:0", .connections_max = FLOOR_CONNECTIONS_MAX, .head_max = 6144};
    o.body_max = 1 << 20;
    o.body_total_max = 64 << 20;
    o.head_timeout_ms = o.body_timeout_ms = o.idle_timeout_ms = 60000;
    o.on_request = floor_on_request;
    o.arg = &f;
    f.httpd = httpd_new(f.loop, log, &o, &err);
    if (!f.httpd) {
        fprintf(stderr, "httpd_floor: %s\n", err.text);
        return 1;
    }
    dprintf(port_fd, "%d\n", httpd_port(f.httpd));
    floor_tick(&f);
    struct loop_watch *in = loop_watch_new(f.loop, STDIN_FILENO, LOOP_READ, floor_on_stdin, &f);
    loop_run(f.loop);
    loop_watch_free(in);
    timerq_cancel(loop_timers(f.loop), &f.timer);
    httpd_free(f.httpd);
    log_free(log);
    loop_free(f.loop);
    return 0;
}

static double floor_cpu_s(pid_t pid)
{
    clockid_t clock;
    struct timespec ts = {.tv_sec = 0};
    if (clock_getcpuclockid(pid, &clock) == 0) clock_gettime(clock, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static bool floor_case(pid_t server, int port, const char *name, int connections, int seconds)
{
    bool is_post = strcmp(name, "get") != 0;
    char script[] = "/tmp/httpd_floor_XXXXXX";
    int fd = mkstemp(script);
    if (fd < 0) return false;
    if (is_post)
        dprintf(fd,
                "wrk.method = 'POST'\nwrk.body = string.rep('x', 500)\n"
                "wrk.headers['Content-Type'] = 'application/json'\n"
                "wrk.headers['Authorization'] = 'Bearer sk-0123456789abcdef0123456789abcdef'\n");
    close(fd);
    char command[512];
    snprintf(command, sizeof command, "wrk -t1 -c%d -d%ds -s %s http://127.0.0.1:%d/%s",
             connections, seconds, script, port, name);
    double before = floor_cpu_s(server);
    FILE *out = popen(command, "r");
    if (!out) return false;
    uint64_t requests = 0;
    double rate = 0;
    bool has_errors = false;
    char line[256];
    while (fgets(line, sizeof line, out)) {
        (void)sscanf(line, " %" SCNu64 " requests in", &requests);
        (void)sscanf(line, "Requests/sec: %lf", &rate);
        if (strstr(line, "Non-2xx") || strstr(line, "Socket errors")) has_errors = true;
    }
    bool ok = pclose(out) == 0 && requests > 0 && !has_errors;
    unlink(script);
    double used = floor_cpu_s(server) - before;
    printf("{\"case\":\"%s\",\"connections\":%d,\"requests\":%" PRIu64
           ",\"per_s\":%.0f,\"cpu_us\":%.2f,\"ok\":%s}\n",
           name, connections, requests, rate, requests ? used * 1e6 / (double)requests : 0.0,
           ok ? "true" : "false");
    fflush(stdout);
    return ok;
}

static int floor_measure(int seconds)
{
    int port_pipe[2], stop_pipe[2];
    if (pipe(port_pipe) != 0 || pipe(stop_pipe) != 0) return 1;
    pid_t server = fork();
    if (server == 0) {
        close(stop_pipe[1]);
        dup2(stop_pipe[0], STDIN_FILENO);
        _exit(floor_serve(port_pipe[1]));
    }
    close(port_pipe[1]);
    close(stop_pipe[0]);
    FILE *in = fdopen(port_pipe[0], "r");
    int port = 0;
    bool ok = server > 0 && in && fscanf(in, "%d", &port) == 1;
    static const char *const cases[] = {"get", "post", "later"};
    static const int connections[] = {64, 512};
    for (size_t i = 0; ok && i < sizeof cases / sizeof cases[0]; i++)
        for (size_t k = 0; ok && k < 2; k++)
            ok = floor_case(server, port, cases[i], connections[k], seconds);
    if (in) fclose(in);
    close(stop_pipe[1]);
    if (server > 0) waitpid(server, NULL, 0);
    return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
    int seconds = 5;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--serve") == 0) return floor_serve(STDOUT_FILENO);
        if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            seconds = (int)strtol(argv[++i], NULL, 10);
    }
    return floor_measure(seconds > 0 ? seconds : 5);
}
