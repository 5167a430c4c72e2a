/* The admin port over real sockets, and log lines on stderr. */
#define _GNU_SOURCE
#include "tests/unit/io_rig.h"

#include "common/base/json.h"
#include "common/io/life.h"
#include <fcntl.h>

struct part {
    struct rig rig;
    struct metrics *metrics;
    struct metric_series *gauge;
    struct life *life;
    bool is_ready, drained;
    const char *reason;
    struct httpd_request *kept;
};

static bool part_is_ready(void *arg, struct buf *reason)
{
    struct part *p = arg;
    if (!p->is_ready) buf_put_str(reason, p->reason);
    return p->is_ready;
}

static void part_before_metrics(void *arg)
{
    metric_add(((struct part *)arg)->gauge, 1);
}

static bool part_on_request(void *arg, struct httpd_request *r)
{
    struct part *p = arg;
    if (view_eq_str(httpd_path(r), "/later")) {
        p->kept = r;
        return true;
    }
    if (!view_eq_str(httpd_path(r), "/drain") || !view_eq_str(httpd_method(r), "POST"))
        return false;
    p->drained = true;
    struct httpd_answer a = {.status = 202, .body = VIEW_LIT("draining")};
    httpd_reply(r, &a);
    return true;
}

static const struct metric_spec GAUGE = {
    .name = "sluice_test_reads", .help = "Reads.", .kind = METRIC_GAUGE};

static void part_open(struct part *p)
{
    struct err err;
    memset(p, 0, sizeof *p);
    rig_open(&p->rig);
    p->metrics = metrics_new();
    p->gauge = metric_series(metrics_family(p->metrics, &GAUGE), NULL);
    struct life_options o = {
        .admin_listen = "127.0.0.1:0", .metrics = p->metrics, .is_ready = part_is_ready};
    o.before_metrics = part_before_metrics;
    o.on_request = part_on_request;
    o.arg = p;
    p->life = life_new(p->rig.loop, p->rig.log, &o, &err);
    assert_non_null(p->life);
    assert_true(life_port(p->life) > 0);
}

static void part_close(struct part *p)
{
    life_free(p->life);
    metrics_free(p->metrics);
    rig_close(&p->rig);
}

static void ask(struct part *p, const char *method, const char *path, int status, const char *want)
{
    struct peer c;
    char text[256];
    peer_open(&c, &p->rig, life_port(p->life));
    snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", method,
             path);
    peer_say(&c, text);
    peer_wait_end(&c);
    if (peer_status(&c) != status || !peer_has(&c, want))
        fail_msg("%s %s: want %d %s: %.*s", method, path, status, want, (int)c.in.len, c.in.data);
    peer_close(&c);
}

static void test_pages(void **state)
{
    (void)state;
    struct part p;
    part_open(&p);
    ask(&p, "GET", "/healthz", 200, "{\"status\":\"ok\"}");
    ask(&p, "HEAD", "/healthz", 200, "Content-Length: 16\r\n");
    p.reason = "kafka: no \"broker\"\n";
    ask(&p, "GET", "/readyz", 503,
        "{\"status\":\"unready\",\"reason\":\"kafka: no \\\"broker\\\"\\n\"}");
    p.is_ready = true;
    ask(&p, "GET", "/readyz", 200, "{\"status\":\"ready\"}");
    ask(&p, "GET", "/metrics", 200, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n");
    ask(&p, "GET", "/metrics", 200, "# TYPE sluice_test_reads gauge\nsluice_test_reads 2\n");
    ask(&p, "POST", "/metrics", 405, "Allow: GET, HEAD\r\n");
    ask(&p, "DELETE", "/healthz", 405, "");
    ask(&p, "POST", "/drain", 202, "draining");
    assert_true(p.drained);
    ask(&p, "GET", "/drain", 404, "not found");
    ask(&p, "GET", "/", 404, "");
    ask(&p, "GET", "/healthz/", 404, "");
    part_close(&p);
}

static bool part_has_kept(void *arg)
{
    return ((struct part *)arg)->kept != NULL;
}

static void test_room_answers_later(void **state)
{
    (void)state;
    struct part p;
    struct peer c;
    part_open(&p);
    peer_open(&c, &p.rig, life_port(p.life));
    peer_say(&c, "GET /later HTTP/1.1\r\nHost: a\r\n\r\n");
    rig_wait(&p.rig, part_has_kept, &p);
    struct httpd_answer a = {.status = 200, .body = VIEW_LIT("now")};
    httpd_reply(p.kept, &a);
    peer_wait(&c, "\r\n\r\nnow");
    peer_close(&c);
    part_close(&p);
}

static void test_bare(void **state)
{
    (void)state;
    struct part p;
    struct err err = {.code = ERR_OK};
    memset(&p, 0, sizeof p);
    rig_open(&p.rig);
    p.life = life_new(p.rig.loop, p.rig.log, &(struct life_options){.admin_listen = "127.0.0.1:0"},
                      &err);
    assert_non_null(p.life);
    ask(&p, "GET", "/readyz", 200, "ready");
    ask(&p, "GET", "/metrics", 200, "Content-Length: 0\r\n");
    ask(&p, "GET", "/x", 404, "not found");
    char taken[32];
    snprintf(taken, sizeof taken, "127.0.0.1:%d", life_port(p.life));
    assert_null(
        life_new(p.rig.loop, p.rig.log, &(struct life_options){.admin_listen = taken}, &err));
    assert_int_equal(err.code, ERR_UNAVAILABLE);
    assert_memory_equal(err.text, "admin port: ", 12);
    life_free(p.life);
    rig_close(&p.rig);
}

/* A stderr nobody reads: the sink drops and counts, and writes again when there is room. */
static void test_log_sink_never_blocks(void **state)
{
    (void)state;
    int ends[2], saved = dup(STDERR_FILENO);
    uint64_t dropped = 0;
    char line[1000];
    memset(line, 'l', sizeof line);
    line[sizeof line - 1] = '\n';
    assert_int_equal(pipe(ends), 0);
    fflush(stderr);
    dup2(ends[1], STDERR_FILENO);
    for (int i = 0; i < 1000; i++) life_log_sink(&dropped, view_make(line, sizeof line));
    life_log_sink(NULL, view_make(line, sizeof line));
    uint64_t first = dropped;
    char bytes[65536];
    ssize_t got = read(ends[0], bytes, sizeof bytes);
    life_log_sink(&dropped, view_make(line, sizeof line));
    uint64_t second = dropped;
    dup2(saved, STDERR_FILENO);
    close(saved);
    assert_true(first > 0 && first < 1000);
    assert_true(got > 0 && bytes[999] == '\n');
    assert_int_equal(second, first);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    int files = rig_open_files();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_room_answers_later),
        cmocka_unit_test(test_bare),
        cmocka_unit_test(test_log_sink_never_blocks),
    };
    int failed = cmocka_run_group_tests_name("io_life", tests, NULL, NULL);
    if (rig_open_files() != files)
        fprintf(stderr, "descriptors leaked: %d before, %d after\n", files, rig_open_files());
    return failed || rig_open_files() != files;
}
