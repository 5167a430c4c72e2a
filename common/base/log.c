/* JSON lines. What is hard: a line is bounded and must still be JSON when cut, and a fault that
 * repeats a thousand times a second must not become the load that it reports.
 *
 * A field that does not fit is taken back whole and the line ends with "cut":true. Warnings and
 * errors are counted by event in a small table, one second at a time: past LOG_BURST they are
 * only counted, and when the second is over one line "suppressed" says how many. Debug and info
 * lines pass always, for one of them ends every job. */
#include "common/base/log.h"

#include "common/base/json.h"
#include "common/base/utf8.h"
#include <assert.h>

enum {
    LOG_LINE_MAX = 4096,
    LOG_VALUE_MAX = 1024,
    LOG_EVENTS = 64,
    LOG_NAME_MAX = 48,
    LOG_TAIL = 16
};

struct log_count {
    char event[LOG_NAME_MAX];
    unsigned seen, suppressed;
};

struct log {
    const char *program;
    enum log_level floor;
    const struct clock *clock;
    log_sink_fn *sink;
    void *arg;
    struct buf line;
    int64_t second;
    size_t event_count;
    struct log_count events[LOG_EVENTS];
};

static const char *const log_names[] = {"debug", "info", "warn", "error"};

struct log *log_new(const char *program, enum log_level floor, const struct clock *clock,
                    log_sink_fn *sink, void *arg)
{
    struct log *l = calloc(1, sizeof *l);
    if (!l) return NULL;
    l->program = program;
    l->floor = floor;
    l->clock = clock;
    l->sink = sink;
    l->arg = arg;
    buf_init(&l->line, LOG_LINE_MAX);
    if (!buf_reserve(&l->line, LOG_LINE_MAX)) {
        free(l);
        return NULL;
    }
    return l;
}

/* At most max bytes, and never half a character. */
static struct view log_clip(struct view v, size_t max)
{
    if (v.len <= max) return v;
    v.len = max;
    while (v.len && ((unsigned char)v.ptr[v.len] & 0xC0) == 0x80) v.len--;
    return v;
}

static void log_value(struct jw *w, const struct log_field *f)
{
    jw_key(w, f->key);
    switch (f->kind) {
    case LOG_STR:
        jw_str(w, log_clip(f->str, LOG_VALUE_MAX));
        return;
    case LOG_INT:
        jw_int(w, f->num);
        return;
    case LOG_REAL:
        jw_real(w, f->real);
        return;
    }
    assert(false && "log_field kind");
}

static void log_write(struct log *l, enum log_level level, struct view job, const char *event,
                      const struct log_field *fields, size_t count)
{
    struct buf *out = &l->line;
    struct jw w;
    bool cut = false;
    buf_reset(out);
    jw_init(&w, out);
    jw_object(&w);
    jw_ktime(&w, "ts", l->clock->wall_ms);
    jw_kcstr(&w, "level", log_names[level]);
    jw_kcstr(&w, "program", l->program);
    if (job.ptr) jw_kstr(&w, "job", log_clip(job, 64));
    jw_kstr(&w, "event", log_clip(view_of(event), 64));
    for (size_t i = 0; i < count; i++) {
        struct jw before = w;
        size_t len = out->len;
        cut = cut || (fields[i].kind == LOG_STR && fields[i].str.len > LOG_VALUE_MAX);
        log_value(&w, &fields[i]);
        if (!out->failed && out->len <= LOG_LINE_MAX - LOG_TAIL) continue;
        w = before;
        out->len = len;
        out->failed = false;
        cut = true;
    }
    if (cut) jw_kbool(&w, "cut", true);
    jw_end_object(&w);
    buf_put_char(out, '\n');
    assert(!out->failed);
    l->sink(l->arg, buf_view(out));
}

/* The second is over: tell what was held back and begin to count anew. */
static void log_turn_second(struct log *l)
{
    for (size_t i = 0; i < l->event_count; i++) {
        if (!l->events[i].suppressed) continue;
        const struct log_field f[] = {LOG_S("of", l->events[i].event),
                                      LOG_N("count", l->events[i].suppressed)};
        log_write(l, LOG_WARN, VIEW_NONE, "suppressed", f, 2);
    }
    l->event_count = 0;
}

/* Counts the event; false: too many of it in this second. Past LOG_EVENTS different ones the
 * rest shares a row. */
static bool log_admit(struct log *l, const char *event)
{
    struct log_count *c = NULL;
    for (size_t i = 0; i < l->event_count && !c; i++) {
        if (strncmp(l->events[i].event, event, LOG_NAME_MAX - 1) == 0) c = &l->events[i];
    }
    if (!c && l->event_count < LOG_EVENTS) {
        c = &l->events[l->event_count++];
        bool shared = l->event_count == LOG_EVENTS;
        *c = (struct log_count){.seen = 0};
        view_copy(log_clip(shared ? VIEW_LIT("other") : view_of(event), LOG_NAME_MAX - 1), c->event,
                  LOG_NAME_MAX);
    }
    if (!c) c = &l->events[LOG_EVENTS - 1];
    if (c->seen++ < LOG_BURST) return true;
    c->suppressed++;
    return false;
}

void log_put(struct log *l, enum log_level level, struct view job, const char *event,
             const struct log_field *fields, size_t count)
{
    if (!l) return;
    int64_t second = l->clock->mono_ms / 1000;
    if (second != l->second) {
        l->second = second;
        log_turn_second(l);
    }
    if (level < l->floor) return;
    if (level >= LOG_WARN && !log_admit(l, event)) return;
    log_write(l, level, job, event, fields, count);
}

void log_free(struct log *l)
{
    if (!l) return;
    log_turn_second(l);
    buf_fini(&l->line);
    free(l);
}

bool log_level_parse(struct view text, enum log_level *ret)
{
    for (size_t i = 0; i < sizeof log_names / sizeof log_names[0]; i++) {
        if (!view_eq_str(text, log_names[i])) continue;
        *ret = (enum log_level)i;
        return true;
    }
    return false;
}
