#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H
#define _GNU_SOURCE /* memmem */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

/* What the load generators and floors of the bench share: the clock, arguments, latencies. Header
 * only: each program here is one file. Times are microseconds of CLOCK_MONOTONIC, which all
 * processes of a machine share, so that a stamp made by one can be read by another. */

enum { BENCH_SAMPLES_MAX = 4 * 1000 * 1000 };

static inline int64_t bench_clock_us(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static inline int64_t bench_now_us(void)
{
    return bench_clock_us(CLOCK_MONOTONIC);
}

static inline int64_t bench_cpu_us(void)
{
    return bench_clock_us(CLOCK_PROCESS_CPUTIME_ID);
}

/* The word after `name`, or otherwise. */
static inline const char *bench_word(int argc, char **argv, const char *name, const char *otherwise)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0) return argv[i + 1];
    return otherwise;
}

static inline long bench_number(int argc, char **argv, const char *name, long otherwise)
{
    const char *word = bench_word(argc, argv, name, NULL);
    return word ? strtol(word, NULL, 10) : otherwise;
}

_Noreturn static inline void bench_die(const char *what)
{
    fprintf(stderr, "bench: %s\n", what);
    exit(1);
}

static inline void *bench_alloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size);
    if (!p) bench_die("no memory");
    return p;
}

/* Latencies: every sample kept, up to a ceiling. */
struct lat {
    uint32_t *us;
    size_t count, cap;
};

static inline void lat_add(struct lat *l, int64_t us)
{
    if (l->count == l->cap) {
        if (l->cap >= BENCH_SAMPLES_MAX) return;
        l->cap = l->cap ? l->cap * 2 : 4096;
        l->us = realloc(l->us, l->cap * sizeof l->us[0]);
        if (!l->us) bench_die("no memory");
    }
    l->us[l->count++] = us < 0 ? 0 : us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static inline int lat_compare(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* Prints "p50_us":..,"p99_us":..,"max_us":..,"samples":.. */
static inline void lat_print(struct lat *l)
{
    if (l->count) qsort(l->us, l->count, sizeof l->us[0], lat_compare);
    size_t n = l->count;
    printf("\"p50_us\":%" PRIu32 ",\"p99_us\":%" PRIu32 ",\"max_us\":%" PRIu32 ",\"samples\":%zu",
           n ? l->us[n / 2] : 0, n ? l->us[n * 99 / 100] : 0, n ? l->us[n - 1] : 0, n);
}

/* Job ids, one a line, perhaps followed by the epoch of their lease. */
struct ids {
    char (*id)[40];
    char (*epoch)[24];
    size_t count;
};

static inline struct ids ids_read(const char *path)
{
    enum { IDS_MAX = 1000000 };
    struct ids s = {.count = 0};
    size_t cap = 0;
    char line[128];
    FILE *in = fopen(path, "r");
    if (!in) bench_die("cannot read the file of ids");
    while (s.count < IDS_MAX && fgets(line, sizeof line, in)) {
        if (s.count == cap) {
            cap = cap ? cap * 2 : 1024;
            s.id = realloc(s.id, cap * sizeof s.id[0]);
            s.epoch = realloc(s.epoch, cap * sizeof s.epoch[0]);
            if (!s.id || !s.epoch) bench_die("no memory");
        }
        s.epoch[s.count][0] = '\0';
        if (sscanf(line, "%39s %23s", s.id[s.count], s.epoch[s.count]) >= 1) s.count++;
    }
    fclose(in);
    return s;
}

/* One event of a fan-out as the product writes it: the stamp stands last, 16 digits, so that a
 * client finds it from the end. */
static inline int bench_event(char *dst, size_t size, const char *id, uint64_t seq, int64_t now_us)
{
    return snprintf(dst, size,
                    "{\"type\":\"step.delta\",\"job_id\":\"%s\",\"seq\":%" PRIu64
                    ",\"ts\":1790000000000,\"step\":\"s\",\"attempt\":1,\"text\":\"%016" PRId64
                    "\"}",
                    id, seq, now_us);
}

#endif
