/* The gateway's own numbers. Counters that other parts keep (tails, producer) are copied when
 * somebody asks. */
#include "gateway/gateway_priv.h"
#include "producer/program.h"

static const double gauges_seconds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                        0.25,  0.5,    1,     2.5,  5,     10,   60};

static const struct metric_spec gauges_requests = {.name = "sluice_http_requests_total",
                                                   .help = "Requests answered.",
                                                   .kind = METRIC_COUNTER,
                                                   .labels = {"route", "method", "code"},
                                                   .series_max = 256};
static const struct metric_spec gauges_duration = {
    .name = "sluice_http_request_duration_seconds",
    .help = "From the whole request to its answer, of streams to their head.",
    .kind = METRIC_HISTOGRAM,
    .labels = {"route"},
    .buckets = gauges_seconds,
    .bucket_count = sizeof gauges_seconds / sizeof *gauges_seconds,
    .series_max = 32};
static const struct metric_spec gauges_produce_errors = {
    .name = "sluice_kafka_produce_errors_total",
    .help = "Records that were not acknowledged, by reason.",
    .kind = METRIC_COUNTER,
    .labels = {"reason"},
    .series_max = 16};

static const struct {
    struct metric_spec spec;
    size_t at; /* in struct gateway */
} gauges_plain[] = {
#define PLAIN(member, kind_, name_, help_)                                                         \
    {                                                                                              \
        {.name = (name_), .help = (help_), .kind = (kind_)},                                       \
            offsetof(struct gateway, gauges.member)                                                \
    }
    PLAIN(connections, METRIC_GAUGE, "sluice_sse_connections", "Open event streams."),
    PLAIN(tails, METRIC_GAUGE, "sluice_watched_jobs", "Jobs that somebody watches."),
    PLAIN(sent, METRIC_COUNTER, "sluice_sse_events_sent_total", "Events handed to streams."),
    PLAIN(resets, METRIC_COUNTER, "sluice_sse_resets_total", "Streams told that history is gone."),
    PLAIN(cuts, METRIC_COUNTER, "sluice_sse_cuts_total",
          "Streams cut because their client was too slow."),
    PLAIN(outstanding, METRIC_GAUGE, "sluice_kafka_records_outstanding",
          "Records not yet acknowledged."),
    PLAIN(under_way, METRIC_GAUGE, "sluice_submissions_under_way", "Submissions not yet through."),
    PLAIN(redis_up, METRIC_GAUGE, "sluice_redis_up", "1 while Redis answers."),
    PLAIN(kafka_up, METRIC_GAUGE, "sluice_kafka_up", "1 while Kafka acknowledges."),
#undef PLAIN
};
static const struct metric_spec gauges_resumes = {.name = "sluice_sse_resumes_total",
                                                  .help = "Streams opened with a cursor.",
                                                  .kind = METRIC_COUNTER,
                                                  .labels = {"result"},
                                                  .series_max = 4};
static const struct metric_spec gauges_build = {.name = "sluice_build_info",
                                                .help = "Version of this program.",
                                                .kind = METRIC_GAUGE,
                                                .labels = {"version"}};

bool gateway_gauges(struct gateway *g)
{
    const char *const version[] = {SLUICE_VERSION}, *const taken[] = {"resumed"},
                      *const past[] = {"past_end"};
    const char *const failed[] = {"not_acknowledged"}, *const refused[] = {"refused"};
    g->metrics = metrics_new();
    if (!g->metrics) return false;
    g->s.requests = metrics_family(g->metrics, &gauges_requests);
    g->s.seconds = metrics_family(g->metrics, &gauges_duration);
    struct metric *errors = metrics_family(g->metrics, &gauges_produce_errors);
    g->gauges.produce_failed = metric_series(errors, failed);
    g->gauges.produce_refused = metric_series(errors, refused);
    for (size_t i = 0; i < sizeof gauges_plain / sizeof *gauges_plain; i++) {
        struct metric_series *series =
            metric_series(metrics_family(g->metrics, &gauges_plain[i].spec), NULL);
        memcpy((char *)g + gauges_plain[i].at, &series, sizeof(series));
    }
    struct metric *resumes = metrics_family(g->metrics, &gauges_resumes);
    g->gauges.resumes = metric_series(resumes, taken);
    g->s.resumed_past_end = metric_series(resumes, past);
    metric_set(metric_series(metrics_family(g->metrics, &gauges_build), version), 1);
    return true;
}

static void gauges_raise(struct metric_series *s, uint64_t to)
{
    double by = (double)to - metric_value(s);
    if (by > 0) metric_add(s, by);
}

void gateway_before_metrics(void *gateway)
{
    struct gateway *g = gateway;
    const struct tails_counts c = tails_counts(g->s.tails);
    const struct producer_counts k = producer_counts(g->s.producer);
    gauges_raise(g->gauges.produce_failed, k.failed);
    gauges_raise(g->gauges.produce_refused, k.refused);
    metric_set(g->gauges.connections, (double)c.watchers);
    metric_set(g->gauges.tails, (double)c.tails);
    gauges_raise(g->gauges.sent, c.events_sent);
    gauges_raise(g->gauges.resumes, c.resumes);
    gauges_raise(g->gauges.resets, c.resets);
    gauges_raise(g->gauges.cuts, c.cuts);
    metric_set(g->gauges.outstanding, (double)producer_outstanding(g->s.producer));
    metric_set(g->gauges.under_way, (double)submit_under_way(g->s.submit));
    metric_set(g->gauges.redis_up, g->s.reads.is_up(g->s.reads.self) ? 1 : 0);
    metric_set(g->gauges.kafka_up, g->s.is_kafka_ready && producer_is_well(g->s.producer) ? 1 : 0);
}
