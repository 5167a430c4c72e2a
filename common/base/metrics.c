/* Counters, gauges, histograms, and Prometheus' text form of them.
 *
 * What is hard: label values come from running code and must not grow without bound, and adding
 * must cost nothing. A caller keeps the pointer of its series, so adding is one addition; a
 * family owns its "other" series from the start, so that past the ceiling, or out of memory,
 * there is always one to give. A family without labels has its series from the start too and
 * shows 0, for a counter that appears only with its first event hides that event from rate(). */
#include "common/base/metrics.h"

#include "common/base/utf8.h"
#include <assert.h>
#include <math.h>

enum {
    METRIC_LABELS_MAX = 4,
    METRIC_SERIES_MAX = 64,
    METRIC_VALUE_MAX = 128,
    METRIC_FAMILIES_MAX = 512
};

struct metric_series {
    struct metric *family;
    struct metric_series *next; /* in the order of making */
    char *labels[METRIC_LABELS_MAX];
    double value; /* histogram: the sum */
    uint64_t count;
    uint64_t buckets[]; /* each alone; the text adds them up */
};

struct metric {
    const struct metric_spec *spec;
    struct metric *next;
    size_t label_count, series_count, series_max;
    struct metric_series *first, *last;
    struct metric_series *other; /* in the list only once it was given out */
};

struct metrics {
    struct metric *first, *last;
    size_t count;
};

struct metrics *metrics_new(void)
{
    return calloc(1, sizeof(struct metrics));
}

static void metric_series_free(struct metric_series *s)
{
    if (!s) return;
    for (size_t i = 0; i < METRIC_LABELS_MAX; i++) free(s->labels[i]);
    free(s);
}

static void metric_free(struct metric *f)
{
    for (struct metric_series *s = f->first, *next; s; s = next) {
        next = s->next;
        if (s != f->other) metric_series_free(s);
    }
    metric_series_free(f->other);
    free(f);
}

void metrics_free(struct metrics *m)
{
    if (!m) return;
    for (struct metric *f = m->first, *next; f; f = next) {
        next = f->next;
        metric_free(f);
    }
    free(m);
}

static struct view metric_clip(const char *value)
{
    struct view v = view_of(value);
    if (v.len > METRIC_VALUE_MAX) v.len = METRIC_VALUE_MAX;
    return v;
}

static struct metric_series *metric_series_new(struct metric *f, const char *const *values)
{
    size_t buckets = f->spec->kind == METRIC_HISTOGRAM ? f->spec->bucket_count : 0;
    struct metric_series *s = calloc(1, sizeof *s + buckets * sizeof s->buckets[0]);
    if (!s) return NULL;
    s->family = f;
    for (size_t i = 0; i < f->label_count; i++) {
        s->labels[i] = view_dup(values ? metric_clip(values[i]) : VIEW_LIT("other"));
        if (s->labels[i]) continue;
        metric_series_free(s);
        return NULL;
    }
    return s;
}

static struct metric_series *metric_series_show(struct metric *f, struct metric_series *s)
{
    if (f->last == s || s->next) return s;
    if (f->last)
        f->last->next = s;
    else
        f->first = s;
    f->last = s;
    f->series_count++;
    return s;
}

static void metric_spec_check(const struct metric_spec *spec)
{
    assert(spec->name && spec->help);
    assert(spec->kind == METRIC_HISTOGRAM || spec->bucket_count == 0);
    for (size_t i = 1; i < spec->bucket_count; i++) assert(spec->buckets[i] > spec->buckets[i - 1]);
}

struct metric *metrics_family(struct metrics *m, const struct metric_spec *spec)
{
    metric_spec_check(spec);
    if (!m || m->count >= METRIC_FAMILIES_MAX) return NULL;
    struct metric *f = calloc(1, sizeof *f);
    if (!f) return NULL;
    f->spec = spec;
    while (f->label_count < METRIC_LABELS_MAX && spec->labels[f->label_count]) f->label_count++;
    f->series_max = spec->series_max ? spec->series_max : METRIC_SERIES_MAX;
    f->other = metric_series_new(f, NULL);
    if (!f->other) {
        free(f);
        return NULL;
    }
    if (!f->label_count) metric_series_show(f, f->other);
    if (m->last)
        m->last->next = f;
    else
        m->first = f;
    m->last = f;
    m->count++;
    return f;
}

static bool metric_series_is(const struct metric_series *s, const char *const *values)
{
    for (size_t i = 0; i < s->family->label_count; i++) {
        if (!view_eq_str(metric_clip(values[i]), s->labels[i])) return false;
    }
    return true;
}

struct metric_series *metric_series(struct metric *f, const char *const *values)
{
    if (!f) return NULL;
    if (!f->label_count) return f->other;
    assert(values);
    for (size_t i = 0; i < f->label_count; i++) assert(values[i]);
    for (struct metric_series *s = f->first; s; s = s->next) {
        if (metric_series_is(s, values)) return s;
    }
    struct metric_series *s = f->series_count < f->series_max ? metric_series_new(f, values) : NULL;
    return metric_series_show(f, s ? s : f->other);
}

void metric_add(struct metric_series *s, double n)
{
    if (!s) return;
    assert(s->family->spec->kind != METRIC_HISTOGRAM);
    assert(n >= 0 || s->family->spec->kind == METRIC_GAUGE);
    s->value += n;
}

void metric_set(struct metric_series *s, double x)
{
    if (!s) return;
    assert(s->family->spec->kind == METRIC_GAUGE);
    s->value = x;
}

void metric_observe(struct metric_series *s, double x)
{
    if (!s || isnan(x)) return; /* one NaN would spoil the sum for ever */
    const struct metric_spec *spec = s->family->spec;
    assert(spec->kind == METRIC_HISTOGRAM);
    size_t low = 0, high = spec->bucket_count; /* the first bound >= x */
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (x <= spec->buckets[mid])
            high = mid;
        else
            low = mid + 1;
    }
    if (low < spec->bucket_count) s->buckets[low]++;
    s->count++;
    s->value += x;
}

double metric_value(const struct metric_series *s)
{
    return s ? s->value : 0;
}

static void metric_put_number(struct buf *out, double x)
{
    char text[32];
    if (isnan(x) || isinf(x)) {
        buf_put_str(out, isnan(x) ? "NaN" : x > 0 ? "+Inf" : "-Inf");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    buf_put_str(out, text);
}

/* Text with the escapes of the exposition format; what is no UTF-8 becomes '?'. */
static void metric_put_text(struct buf *out, const char *text, bool is_label)
{
    const char *end = text + strlen(text);
    for (unsigned n; text < end; text += n) {
        n = utf8_length(text, end);
        if (*text == '\n')
            buf_put(out, "\\n", 2);
        else if (*text == '\\' || (is_label && *text == '"'))
            buf_printf(out, "\\%c", *text);
        else
            buf_put(out, n ? text : "?", n ? n : 1);
        if (!n) n = 1;
    }
}

/* name_suffix{labels,le="bound"} , up to the space before the number. le NULL: none. */
static void metric_put_name(struct buf *out, const struct metric_series *s, const char *suffix,
                            const double *le)
{
    const struct metric *f = s->family;
    const char *comma = "{";
    buf_put_str(out, f->spec->name);
    buf_put_str(out, suffix);
    for (size_t i = 0; i < f->label_count; i++, comma = ",") {
        buf_printf(out, "%s%s=\"", comma, f->spec->labels[i]);
        metric_put_text(out, s->labels[i], true);
        buf_put_char(out, '"');
    }
    if (le) {
        buf_printf(out, "%sle=\"", comma);
        metric_put_number(out, *le);
        buf_put_char(out, '"');
    }
    buf_put_str(out, f->label_count || le ? "} " : " ");
}

static void metric_put_line(struct buf *out, const struct metric_series *s, const char *suffix,
                            double x)
{
    metric_put_name(out, s, suffix, NULL);
    metric_put_number(out, x);
    buf_put_char(out, '\n');
}

static void metric_put_histogram(struct buf *out, const struct metric_series *s)
{
    const struct metric_spec *spec = s->family->spec;
    uint64_t sum = 0;
    for (size_t i = 0; i <= spec->bucket_count; i++) {
        double bound = i < spec->bucket_count ? spec->buckets[i] : (double)INFINITY;
        sum = i < spec->bucket_count ? sum + s->buckets[i] : s->count;
        metric_put_name(out, s, "_bucket", &bound);
        buf_put_u64(out, sum);
        buf_put_char(out, '\n');
    }
    metric_put_line(out, s, "_sum", s->value);
    metric_put_name(out, s, "_count", NULL);
    buf_put_u64(out, s->count);
    buf_put_char(out, '\n');
}

bool metrics_put(const struct metrics *m, struct buf *out)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    for (const struct metric *f = m->first; f; f = f->next) {
        buf_printf(out, "# HELP %s ", f->spec->name);
        metric_put_text(out, f->spec->help, false);
        buf_printf(out, "\n# TYPE %s %s\n", f->spec->name, kinds[f->spec->kind]);
        for (const struct metric_series *s = f->first; s; s = s->next) {
            if (f->spec->kind == METRIC_HISTOGRAM)
                metric_put_histogram(out, s);
            else
                metric_put_line(out, s, "", s->value);
        }
    }
    return !out->failed;
}
