/* What a worker counts, by name. Labels come from bounded sets: states, providers and models of the
 * configuration. */
#include "consumer/foreign.h"
#include "consumer/gate.h"
#include "consumer/home.h"

static struct metric_series *meter_plain(struct metrics *m, const struct metric_spec *spec)
{
    return metric_series(metrics_family(m, spec), NULL);
}

static const double meter_seconds[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                       1,     2.5,  5,     10,   30,  60,   300};
enum { METER_SECONDS = sizeof meter_seconds / sizeof *meter_seconds };

static const struct metric_spec meter_ended = {.name = "sluice_jobs_ended_total",
                                               .help = "Jobs this worker ended, by status",
                                               .labels = {"status"}};
static const struct metric_spec meter_plain_counters[] = {
    {.name = "sluice_jobs_started_total", .help = "Started records acknowledged"},
    {.name = "sluice_jobs_handed_over_total",
     .help = "Jobs handed to another worker by a continuation"},
    {.name = "sluice_jobs_parked_total", .help = "Jobs parked in a delay topic"},
    {.name = "sluice_jobs_dropped_total", .help = "Jobs given up because another worker has them"},
    {.name = "sluice_dead_letters_total", .help = "Records written to the dead letters"},
    {.name = "sluice_intake_records_total", .help = "Records taken from intake topics"},
    {.name = "sluice_state_records_total", .help = "Records read from the state log"},
    {.name = "sluice_commits_total", .help = "Window commits sent"},
    {.name = "sluice_commit_errors_total", .help = "Window commits refused"},
    {.name = "sluice_rebuilds_total", .help = "Views of a home rebuilt in Redis"},
    {.name = "sluice_void_ends_total",
     .help = "Terminal records of this worker that did not count"},
    {.name = "sluice_publish_retries_total", .help = "Records sent again after a failed delivery"},
    {.name = "sluice_jobs_spilled_total",
     .help = "Records set aside because their tenant fills its part of the window"},
};
static const struct metric_spec meter_gauges[] = {
    {.name = "sluice_jobs_running", .help = "Jobs in hand", .kind = METRIC_GAUGE},
    {.name = "sluice_jobs_queued",
     .help = "Records read and waiting to start",
     .kind = METRIC_GAUGE},
    {.name = "sluice_jobs_foreign",
     .help = "Records whose job another worker holds",
     .kind = METRIC_GAUGE},
    {.name = "sluice_llm_calls_in_flight", .help = "LLM calls under way", .kind = METRIC_GAUGE},
    {.name = "sluice_llm_calls_waiting",
     .help = "LLM calls waiting for their budget",
     .kind = METRIC_GAUGE},
    {.name = "sluice_homes", .help = "Homes owned", .kind = METRIC_GAUGE},
    {.name = "sluice_homes_ready", .help = "Homes taking work", .kind = METRIC_GAUGE},
    {.name = "sluice_lease_fenced",
     .help = "1 while the heartbeat is not held",
     .kind = METRIC_GAUGE},
    {.name = "sluice_record_memory_bytes",
     .help = "Bytes of records in memory",
     .kind = METRIC_GAUGE},
    {.name = "sluice_jobs_waiting_for_key",
     .help = "Records that wait for room under the limits of their key",
     .kind = METRIC_GAUGE},
};
static const struct metric_spec meter_queue = {.name = "sluice_queue_seconds",
                                               .help = "From reading a record to its start",
                                               .kind = METRIC_HISTOGRAM,
                                               .buckets = meter_seconds,
                                               .bucket_count = METER_SECONDS};
static const struct metric_spec meter_job = {.name = "sluice_job_seconds",
                                             .help = "From the lease to the end of a job",
                                             .kind = METRIC_HISTOGRAM,
                                             .buckets = meter_seconds,
                                             .bucket_count = METER_SECONDS};
static const struct metric_spec meter_requests = {.name = "sluice_llm_requests_total",
                                                  .help = "LLM calls by outcome",
                                                  .labels = {"provider", "model", "outcome"},
                                                  .series_max = 512};
static const struct metric_spec meter_tokens = {.name = "sluice_llm_tokens_total",
                                                .help = "LLM tokens as reported",
                                                .labels = {"provider", "model", "direction"},
                                                .series_max = 256};
static const struct metric_spec meter_first = {.name = "sluice_llm_time_to_first_token_seconds",
                                               .help = "From the request to its first text",
                                               .kind = METRIC_HISTOGRAM,
                                               .labels = {"provider", "model"},
                                               .buckets = meter_seconds,
                                               .bucket_count = METER_SECONDS};

void worker_meters_init(struct worker_meters *w, struct call_meters *calls, struct metrics *m)
{
    struct metric_series **counters[] = {
        &w->started,    &w->handed,          &w->parked,  &w->dropped,       &w->dead_letters,
        &w->records_in, &w->state_in,        &w->commits, &w->commit_errors, &w->rebuilds,
        &w->void_ends,  &w->publish_retries, &w->spilled};
    struct metric_series **gauges[] = {&w->running,       &w->queued, &w->foreign,     &w->calls,
                                       &w->calls_waiting, &w->homes,  &w->homes_ready, &w->fenced,
                                       &w->item_bytes,    &w->keyed};
    struct metric *ended = metrics_family(m, &meter_ended);
    for (enum job_status s = 0; s < JOB_STATUS_COUNT; s++) {
        const char *labels[] = {job_status_name(s)};
        if (job_status_is_terminal(s)) w->ended[s] = metric_series(ended, labels);
    }
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
        *counters[i] = meter_plain(m, &meter_plain_counters[i]);
    for (size_t i = 0; i < sizeof gauges / sizeof *gauges; i++)
        *gauges[i] = meter_plain(m, &meter_gauges[i]);
    w->queue_seconds = meter_plain(m, &meter_queue);
    w->job_seconds = meter_plain(m, &meter_job);
    calls->requests = metrics_family(m, &meter_requests);
    calls->tokens = metrics_family(m, &meter_tokens);
    calls->first_token_seconds = metrics_family(m, &meter_first);
}

void worker_stats(const struct worker *w, struct worker_stats *ret)
{
    size_t ready = 0, keyed = 0;
    for (struct list_link *k = list_first(&w->home_list); k; k = list_next(&w->home_list, k)) {
        const struct home *h = LIST_ITEM(k, struct home, link);
        ready += h->state == HOME_READY && h->is_built;
        keyed += h->keyed ? keyed_waiting(h->keyed) : 0;
    }
    *ret = (struct worker_stats){.state = w->state,
                                 .homes = w->home_list.count,
                                 .homes_ready = ready,
                                 .running = w->run_list.count,
                                 .queued = gate_count(w),
                                 .keyed = keyed,
                                 .foreign = foreign_count(w->foreign),
                                 .sleeping = w->sleeping,
                                 .calls = pacer_in_flight(w->pacer),
                                 .calls_waiting = pacer_waiting(w->pacer),
                                 .item_bytes = w->item_bytes,
                                 .started = w->started,
                                 .ended = w->ended,
                                 .handed = w->handed,
                                 .dropped = w->dropped,
                                 .is_fenced = !lease_is_held(w->lease)};
}

void worker_refresh_metrics(struct worker *w)
{
    struct worker_stats s;
    worker_stats(w, &s);
    metric_set(w->meters.running, (double)s.running);
    metric_set(w->meters.queued, (double)s.queued);
    metric_set(w->meters.keyed, (double)s.keyed);
    metric_set(w->meters.foreign, (double)s.foreign);
    metric_set(w->meters.calls, (double)s.calls);
    metric_set(w->meters.calls_waiting, (double)s.calls_waiting);
    metric_set(w->meters.homes, (double)s.homes);
    metric_set(w->meters.homes_ready, (double)s.homes_ready);
    metric_set(w->meters.fenced, s.is_fenced ? 1 : 0);
    metric_set(w->meters.item_bytes, (double)s.item_bytes);
    pacer_refresh_metrics(w->pacer);
}

bool worker_is_ready(const struct worker *w, struct buf *reason)
{
    struct worker_stats s;
    worker_stats(w, &s);
    if (s.state != WORKER_ACTIVE) {
        (void)buf_printf(reason, "%s", worker_state_name(s.state));
        return false;
    }
    if (s.is_fenced) {
        (void)buf_put_str(reason, "no heartbeat in Redis");
        return false;
    }
    if (s.homes_ready < s.homes) {
        (void)buf_printf(reason, "%zu of %zu homes are being read", s.homes - s.homes_ready,
                         s.homes);
        return false;
    }
    return true;
}
