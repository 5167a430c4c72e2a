#ifndef BASE_METRICS_H
#define BASE_METRICS_H
#include "common/base/buf.h"

/* Counters, gauges and histograms with bounded label sets, and their Prometheus text form
 * (0.0.4; names per the project's table: sluice_ prefix, base units, _total for counters). Label
 * values come from bounded sets only (state, route, topic, provider, model, outcome): past
 * series_max of a family new label sets go to one series "other". */
struct metrics;
struct metric;        /* a family */
struct metric_series; /* one label set of it: keep the pointer, adding is then one addition */

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric_spec {
    const char *name, *help;
    enum metric_kind kind;
    const char *labels[4]; /* names, NULL-terminated */
    const double *buckets; /* histogram upper bounds, ascending */
    size_t bucket_count;
    size_t series_max; /* 0 = 64 */
};

/* Every call takes the NULL that a failed one gave (and then does nothing), so wiring needs no
 * checks. */
struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);
/* spec is borrowed for ever. */
struct metric *metrics_family(struct metrics *m, const struct metric_spec *spec);
/* values: as many as the family has labels; NULL for none. Never NULL of a family ("other" past
 * the ceiling). */
struct metric_series *metric_series(struct metric *f, const char *const *values);
void metric_add(struct metric_series *s, double n);
void metric_set(struct metric_series *s, double x);
void metric_observe(struct metric_series *s, double x);
double metric_value(const struct metric_series *s);
bool metrics_put(const struct metrics *m, struct buf *out);

#endif
