/* What librdkafka and the broker cost alone: the limit of the rows that go through Kafka.
 *
 *   kafkafloor --brokers B --topic T --mode produce --outstanding N --seconds S [--bytes 500]
 *   kafkafloor ... --mode fill --count N              records for consume
 *   kafkafloor ... --mode idle --count N              one at a time: produce, report, consumed
 *   kafkafloor ... --mode consume --count N           polls N records, sends two for each to
 * --topic2, commits once a second, ends with the last report
 *
 * --also TOPIC --also-count N: N more, silent partitions are fetched beside the topic's own.
 * Settings are the product's: idempotent, acks=all, linger 1 ms, lz4, partitions by hand. The topic
 * is made by the caller. One line of JSON. */
#include "tests/bench/bench.h"
#include <librdkafka/rdkafka.h>

enum { FLOOR_PARTITIONS = 8, FLOOR_BYTES_MAX = 65536, FLOOR_IDLE_WAIT_MS = 5000 };

struct floor {
    rd_kafka_t *producer, *consumer;
    rd_kafka_topic_t *topic, *topic2;
    rd_kafka_queue_t *reports;
    char *payload;
    size_t bytes;
    uint64_t sent, reported, errors;
    struct lat lat, consumed;
};

static void floor_set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char text[256];
    if (rd_kafka_conf_set(conf, name, value, text, sizeof text) != RD_KAFKA_CONF_OK)
        bench_die(text);
}

static rd_kafka_t *floor_client(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
    char text[256];
    rd_kafka_t *rk = rd_kafka_new(type, conf, text, sizeof text);
    if (!rk) bench_die(text);
    return rk;
}

static void floor_open_producer(struct floor *f, const char *brokers, const char *linger,
                                const char *compression)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    floor_set(conf, "bootstrap.servers", brokers);
    floor_set(conf, "enable.idempotence", "true");
    floor_set(conf, "acks", "all");
    floor_set(conf, "linger.ms", linger);
    floor_set(conf, "compression.type", compression);
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
    f->producer = floor_client(RD_KAFKA_PRODUCER, conf);
    f->reports = rd_kafka_queue_get_main(f->producer);
}

static void floor_open_consumer(struct floor *f, const char *brokers, const char *topic,
                                const char *also, int also_count)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    floor_set(conf, "bootstrap.servers", brokers);
    floor_set(conf, "group.id", "bench-floor");
    floor_set(conf, "enable.auto.commit", "false");
    floor_set(conf, "auto.offset.reset", "earliest");
    floor_set(conf, "fetch.wait.max.ms", "100");
    f->consumer = floor_client(RD_KAFKA_CONSUMER, conf);
    rd_kafka_poll_set_consumer(f->consumer);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(FLOOR_PARTITIONS);
    for (int p = 0; p < FLOOR_PARTITIONS; p++)
        rd_kafka_topic_partition_list_add(list, topic, p)->offset = RD_KAFKA_OFFSET_BEGINNING;
    for (int n = 0; n < also_count; n++)
        rd_kafka_topic_partition_list_add(list, also, n)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_assign(f->consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
}

static void floor_send(struct floor *f, rd_kafka_topic_t *topic, size_t bytes)
{
    int64_t now = bench_now_us();
    rd_kafka_headers_t *headers = rd_kafka_headers_new(2);
    rd_kafka_header_add(headers, "job-id", 6, "0193b0a0-0000-7000-8000-000000000000", 36);
    rd_kafka_header_add(headers, "tenant", 6, "local-1", 7);
    rd_kafka_vu_t vus[] = {
        {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = topic},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = (int32_t)(f->sent % FLOOR_PARTITIONS)},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
        {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {.ptr = f->payload, .size = bytes}},
        {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
        {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = (void *)(uintptr_t)now},
    };
    rd_kafka_error_t *e = rd_kafka_produceva(f->producer, vus, sizeof vus / sizeof vus[0]);
    if (e) bench_die(rd_kafka_error_string(e));
    f->sent++;
}

static void floor_reports(struct floor *f, int wait_ms)
{
    rd_kafka_event_t *ev = rd_kafka_queue_poll(f->reports, wait_ms);
    if (!ev) return;
    if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_DR) {
        const rd_kafka_message_t *m;
        int64_t now = bench_now_us();
        while ((m = rd_kafka_event_message_next(ev))) {
            lat_add(&f->lat, now - (int64_t)(uintptr_t)m->_private);
            f->reported++;
            if (m->err) f->errors++;
        }
    }
    rd_kafka_event_destroy(ev);
}

static void floor_produce(struct floor *f, uint64_t outstanding, int64_t until, uint64_t count)
{
    while (count ? f->sent < count : bench_now_us() < until) {
        while (f->sent - f->reported < outstanding && (!count || f->sent < count))
            floor_send(f, f->topic, f->bytes);
        floor_reports(f, 100);
    }
    while (f->reported < f->sent) floor_reports(f, 100);
}

static void floor_idle(struct floor *f, uint64_t count)
{
    rd_kafka_message_t *m = rd_kafka_consumer_poll(f->consumer, 1000); /* the fetchers are up */
    if (m) rd_kafka_message_destroy(m);
    for (uint64_t i = 0; i < count + 20; i++) {
        int64_t start = bench_now_us();
        if (i == 20) f->lat.count = f->consumed.count = 0;
        floor_send(f, f->topic, f->bytes);
        while (f->reported < f->sent) floor_reports(f, 100);
        m = rd_kafka_consumer_poll(f->consumer, FLOOR_IDLE_WAIT_MS);
        if (!m) bench_die("a record did not come back");
        if (m->err) f->errors++;
        lat_add(&f->consumed, bench_now_us() - start);
        rd_kafka_message_destroy(m);
    }
}

static void floor_consume(struct floor *f, uint64_t count)
{
    int64_t commit_us = bench_now_us() + 1000000;
    for (uint64_t got = 0; got < count;) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(f->consumer, FLOOR_IDLE_WAIT_MS);
        if (!m) bench_die("records are missing");
        if (!m->err) {
            got++;
            floor_send(f, f->topic2, 100); /* as `started`: headers, no value to speak of */
            floor_send(f, f->topic2, f->bytes);
        }
        rd_kafka_message_destroy(m);
        if (f->sent - f->reported > 256) floor_reports(f, 0);
        if (bench_now_us() >= commit_us || got == count) {
            rd_kafka_commit(f->consumer, NULL, 1);
            commit_us = bench_now_us() + 1000000;
        }
    }
    while (f->reported < f->sent) floor_reports(f, 100);
}

static void floor_print(struct floor *f, uint64_t count, int64_t start, int64_t cpu)
{
    double seconds = (double)(bench_now_us() - start) / 1e6;
    printf("{\"count\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"seconds\":%.3f,\"per_s\":%.0f,"
           "\"cpu_us\":%.2f,",
           count, f->errors, seconds, (double)count / seconds,
           (double)(bench_cpu_us() - cpu) / (double)(count ? count : 1));
    lat_print(f->consumed.count ? &f->consumed : &f->lat);
    if (f->consumed.count) {
        printf(",\"ack\":{");
        lat_print(&f->lat);
        printf("}");
    }
    printf("}\n");
}

int main(int argc, char **argv)
{
    const char *brokers = bench_word(argc, argv, "--brokers", "");
    const char *topic = bench_word(argc, argv, "--topic", ""), *mode;
    struct floor f = {.bytes = (size_t)bench_number(argc, argv, "--bytes", 500)};
    uint64_t count = (uint64_t)bench_number(argc, argv, "--count", 0);
    mode = bench_word(argc, argv, "--mode", "produce");
    if (f.bytes > FLOOR_BYTES_MAX) bench_die("--bytes is out of range");
    f.payload = bench_alloc(FLOOR_BYTES_MAX, 1);
    for (size_t i = 0; i < f.bytes; i++) f.payload[i] = (char)('a' + (i * 7 + i / 13) % 26);
    floor_open_producer(&f, brokers, bench_word(argc, argv, "--linger", "1"),
                        bench_word(argc, argv, "--compression", "lz4"));
    f.topic = rd_kafka_topic_new(f.producer, topic, NULL);
    f.topic2 = rd_kafka_topic_new(f.producer, bench_word(argc, argv, "--topic2", topic), NULL);
    bool reads = strcmp(mode, "idle") == 0 || strcmp(mode, "consume") == 0;
    if (reads)
        floor_open_consumer(&f, brokers, topic, bench_word(argc, argv, "--also", ""),
                            (int)bench_number(argc, argv, "--also-count", 0));
    int64_t start = bench_now_us(), cpu = bench_cpu_us();
    if (strcmp(mode, "idle") == 0)
        floor_idle(&f, count);
    else if (strcmp(mode, "consume") == 0)
        floor_consume(&f, count);
    else
        floor_produce(&f, (uint64_t)bench_number(argc, argv, "--outstanding", 64),
                      start + bench_number(argc, argv, "--seconds", 5) * 1000000, count);
    floor_print(&f, reads ? count : f.reported, start, cpu);
    fflush(stdout);
    if (f.consumer) rd_kafka_consumer_close(f.consumer);
    if (f.consumer) rd_kafka_destroy(f.consumer);
    rd_kafka_topic_destroy(f.topic);
    rd_kafka_topic_destroy(f.topic2);
    rd_kafka_queue_destroy(f.reports);
    rd_kafka_destroy(f.producer);
    free(f.payload);
    free(f.lat.us);
    free(f.consumed.us);
    return f.errors ? 1 : 0;
}
