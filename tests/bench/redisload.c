/* Events straight through the Redis function that workers use, and the raw reading of a history.
 *
 *   redisload --port P --ids FILE --first-seq K --mode live --rate E --seconds T
 *       one event a call, round robin over the jobs, E a second, stamped (see bench_event)
 *   redisload ... --mode bulk --count N [--text 500] [--items 50]
 *       N deltas of the first job, 64 a call, in a pipeline: a long history
 *   redisload ... --mode xrange
 *       reads the first job's stream in pages of 1,000: the limit of a replay
 *
 * The file has `id epoch` on each line; the jobs are leased under these epochs. Any answer but OK
 * is an error. One line of JSON. */
#include "tests/bench/bench.h"
#include <hiredis/hiredis.h>
#include <unistd.h>

enum { LOAD_CALL_EVENTS = 64, LOAD_PIPELINE = 32, LOAD_PAGE = 1000, LOAD_TICK_US = 1000 };
enum { LOAD_FIXED_ARGS = 9, LOAD_DATA_MAX = 2048 };

struct load {
    redisContext *redis;
    struct ids ids;
    uint64_t *seqs, sent, errors, bytes, entries;
    size_t text, items;
};

static void load_answer(struct load *l)
{
    redisReply *reply = NULL;
    if (redisGetReply(l->redis, (void **)&reply) != REDIS_OK) bench_die("Redis went away");
    bool ok = reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
              reply->element[0]->type == REDIS_REPLY_INTEGER && reply->element[0]->integer == 0;
    if (!ok && l->errors++ < 3)
        fprintf(stderr, "redisload: append answers %s %lld\n", reply->str ? reply->str : "",
                reply->elements ? reply->element[0]->integer : -1);
    freeReplyObject(reply);
}

static int load_delta(const struct load *l, char *dst, const char *id, uint64_t seq)
{
    static const char words[] = "the quick brown fox jumps over the lazy dog and then it rests ";
    int len = snprintf(dst, LOAD_DATA_MAX,
                       "{\"type\":\"step.delta\",\"job_id\":\"%s\",\"seq\":%" PRIu64
                       ",\"ts\":1790000000000,\"step\":\"summaries\",\"item\":%" PRIu64
                       ",\"attempt\":1,\"text\":\"",
                       id, seq, seq % l->items);
    for (size_t i = 0; i < l->text; i++) dst[len++] = words[(i + seq) % (sizeof words - 1)];
    memcpy(dst + len, "\"}", 3);
    return len + 2;
}

static void load_append(struct load *l, size_t job, size_t count)
{
    static char data[LOAD_CALL_EVENTS][LOAD_DATA_MAX];
    char meta[64], events[64], seq[24];
    const char *argv[LOAD_FIXED_ARGS + 2 * LOAD_CALL_EVENTS];
    size_t lens[LOAD_FIXED_ARGS + 2 * LOAD_CALL_EVENTS];
    int argc = 0;
    snprintf(meta, sizeof meta, "j:{%s}:m", l->ids.id[job]);
    snprintf(events, sizeof events, "j:{%s}:e", l->ids.id[job]);
    snprintf(seq, sizeof seq, "%" PRIu64, l->seqs[job]);
    const char *const fixed[LOAD_FIXED_ARGS] = {
        "FCALL", "sluice_v1_append", "2", meta, events, l->ids.epoch[job], seq, "", "0"};
    for (; argc < LOAD_FIXED_ARGS; argc++) argv[argc] = fixed[argc];
    for (size_t i = 0; i < count; i++) {
        uint64_t n = l->seqs[job]++;
        int len = l->text ? load_delta(l, data[i], l->ids.id[job], n)
                          : bench_event(data[i], LOAD_DATA_MAX, l->ids.id[job], n, bench_now_us());
        l->bytes += (uint64_t)len;
        argv[argc++] = "step.delta";
        argv[argc++] = data[i];
    }
    for (int i = 0; i < argc; i++) lens[i] = strlen(argv[i]);
    if (redisAppendCommandArgv(l->redis, argc, argv, lens) != REDIS_OK) bench_die("no memory");
    l->sent += count;
}

static void load_live(struct load *l, long rate, long seconds)
{
    int64_t start = bench_now_us();
    uint64_t all = (uint64_t)rate * (uint64_t)seconds;
    size_t job = 0;
    while (l->sent < all) {
        uint64_t due = (uint64_t)((double)(bench_now_us() - start) / 1e6 * (double)rate) + 1;
        size_t calls = 0;
        for (; l->sent < due && l->sent < all && calls < 1000; calls++) {
            load_append(l, job, 1);
            job = (job + 1) % l->ids.count;
        }
        while (calls--) load_answer(l);
        if (l->sent >= due) usleep(LOAD_TICK_US); /* the pace of the load */
    }
}

static void load_bulk(struct load *l, uint64_t count)
{
    size_t pending = 0;
    while (l->sent < count) {
        uint64_t left = count - l->sent;
        load_append(l, 0, left < LOAD_CALL_EVENTS ? (size_t)left : LOAD_CALL_EVENTS);
        if (++pending == LOAD_PIPELINE)
            for (; pending; pending--) load_answer(l);
    }
    for (; pending; pending--) load_answer(l);
}

static void load_xrange(struct load *l)
{
    char from[64] = "-";
    for (;;) {
        redisReply *r =
            redisCommand(l->redis, "XRANGE j:{%s}:e %s + COUNT %d", l->ids.id[0], from, LOAD_PAGE);
        if (!r || r->type != REDIS_REPLY_ARRAY) bench_die("XRANGE failed");
        size_t n = r->elements;
        for (size_t i = 0; i < n; i++) l->bytes += r->element[i]->element[1]->element[3]->len;
        if (n) snprintf(from, sizeof from, "(%s", r->element[n - 1]->element[0]->str);
        l->entries += n;
        freeReplyObject(r);
        if (n < LOAD_PAGE) return;
    }
}

int main(int argc, char **argv)
{
    struct load l = {.ids = ids_read(bench_word(argc, argv, "--ids", ""))};
    const char *mode = bench_word(argc, argv, "--mode", "live");
    l.redis = redisConnect("127.0.0.1", (int)bench_number(argc, argv, "--port", 0));
    if (!l.redis || l.redis->err || !l.ids.count) bench_die("cannot connect");
    l.items = (size_t)bench_number(argc, argv, "--items", 50);
    l.seqs = bench_alloc(l.ids.count, sizeof l.seqs[0]);
    for (size_t i = 0; i < l.ids.count; i++)
        l.seqs[i] = (uint64_t)bench_number(argc, argv, "--first-seq", 2);
    int64_t start = bench_now_us(), cpu = bench_cpu_us();
    if (strcmp(mode, "bulk") == 0) {
        long text = bench_number(argc, argv, "--text", 500);
        if (text < 1 || text > LOAD_DATA_MAX - 300) bench_die("--text is out of range");
        l.text = (size_t)text;
        load_bulk(&l, (uint64_t)bench_number(argc, argv, "--count", 1));
    } else if (strcmp(mode, "xrange") == 0) {
        load_xrange(&l);
    } else {
        load_live(&l, bench_number(argc, argv, "--rate", 1),
                  bench_number(argc, argv, "--seconds", 1));
    }
    printf("{\"sent\":%" PRIu64 ",\"entries\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"bytes\":%" PRIu64
           ",\"seconds\":%.4f,\"cpu_us\":%" PRId64 "}\n",
           l.sent, l.entries, l.errors, l.bytes, (double)(bench_now_us() - start) / 1e6,
           bench_cpu_us() - cpu);
    redisFree(l.redis);
    free(l.seqs);
    return l.errors ? 1 : 0;
}
