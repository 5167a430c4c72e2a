#ifndef BASE_LOG_H
#define BASE_LOG_H
#include "common/base/buf.h"
#include "common/base/clock.h"

/* JSON lines: {"ts","level","program","job"?,"event",...}. One writer a process, made in main
 * and handed down. Lines go to a sink (io writes them to stderr); a string is cut at 1 KB and a
 * line at 4 KB, marked "cut":true. Warnings and errors of one event beyond LOG_BURST a second
 * are counted and told once ("suppressed" of count); debug and info lines always pass, so a line
 * that must not be missing (job_done, job_failed) is info. Never holds prompts, inputs or keys. */
struct log;
enum { LOG_BURST = 20 };
enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
typedef void log_sink_fn(void *arg, struct view line); /* with its LF */

struct log_field {
    const char *key;
    enum { LOG_STR, LOG_INT, LOG_REAL } kind;
    struct view str;
    int64_t num;
    double real;
};

#define LOG_V(k, v)                                                                                \
    {                                                                                              \
        .key = (k), .kind = LOG_STR, .str = (v)                                                    \
    }
#define LOG_S(k, s)                                                                                \
    {                                                                                              \
        .key = (k), .kind = LOG_STR, .str = view_of(s)                                             \
    }
#define LOG_N(k, n)                                                                                \
    {                                                                                              \
        .key = (k), .kind = LOG_INT, .num = (int64_t)(n)                                           \
    }
#define LOG_R(k, x)                                                                                \
    {                                                                                              \
        .key = (k), .kind = LOG_REAL, .real = (x)                                                  \
    }

/* program, clock and arg are borrowed; NULL: no memory. A NULL log swallows everything. */
struct log *log_new(const char *program, enum log_level floor, const struct clock *clock,
                    log_sink_fn *sink, void *arg);
void log_free(struct log *l);
void log_put(struct log *l, enum log_level level, struct view job, const char *event,
             const struct log_field *fields, size_t count);
bool log_level_parse(struct view text, enum log_level *ret);

/* log_event(l, LOG_INFO, job, "job_done", LOG_S("status", "succeeded"), LOG_N("ms", 12)); job
 * may be VIEW_NONE */
#define log_event(l, level, job, event, ...)                                                       \
    log_put((l), (level), (job), (event),                                                          \
            (const struct log_field[]){{.key = NULL}, ##__VA_ARGS__} + 1,                          \
            sizeof((const struct log_field[]){{.key = NULL}, ##__VA_ARGS__}) /                     \
                    sizeof(struct log_field) -                                                     \
                1)

#endif
