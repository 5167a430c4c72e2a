#ifndef SIM_NAMED_PRIV_H
#define SIM_NAMED_PRIV_H
#include "tests/sim/named.h"
#include "tests/sim/stage.h"

/* What the files of named cases share. A case waits for a moment that is seen from outside (a record in the log, a call at the provider), does
 * the harm, and lets it come to rest. */
enum { NAMED_SOON_MS = 60000 };

struct named {
    struct stage s;
    struct crowd_job *job; /* the one the story is about */
    const char *step;      /* what a wait looks for */
    size_t want;
    const char *worker;
    int32_t home;
};

#define EXPECT(n, what)                                                                                                                     \
    do {                                                                                                                                    \
        if (!(what)) plant_blame(&(n)->s.plant, "named: not so: %s (line %d)", #what, __LINE__);                                            \
    } while (0)
#define UNTIL(n, moment) named_until((n), (moment), #moment)
#define NAMED_CHAT "{\"text\":\"hello\"}"

/* --- telling (named_tell.c) --- */
struct plant *named_plant_of(struct named *n);
struct judged *named_judged_job(struct named *n); /* NULL: not met yet */
void named_until(struct named *n, bool (*moment)(void *arg), const char *what);
struct crowd_job *named_submit(struct named *n, const char *workflow, const char *input);
void named_finish(struct named *n); /* lets all come to rest, and judges */
struct sim_worker *named_worker(struct named *n, const char *name);
struct sim_worker *named_runner(struct named *n); /* who started it last */
void named_run_away_from_home(struct named *n); /* n->job runs on w1, its home is w2's */
int64_t named_stream_length(struct named *n);
/* One question of the job's own tenant about it; what: the rest of its path. The status, 0: no answer. */
int named_ask(struct named *n, const char *method, const char *what);

/* --- moments --- */
bool named_is_accepted(void *arg);
bool named_is_settled(void *arg);
bool named_is_started(void *arg);       /* n->want times */
bool named_has_checkpoints(void *arg);  /* n->want */
bool named_is_ended(void *arg);         /* in the log */
bool named_has_void_records(void *arg); /* n->want */
bool named_is_calling(void *arg);       /* n->step */
bool named_is_home_of(void *arg);       /* n->home is n->worker's */
bool named_is_home_elsewhere(void *arg);
bool named_has_seen(void *arg); /* its first watcher, n->want events */
size_t named_whole_calls(struct named *n, const char *step);
bool named_ended_as(struct named *n, enum job_status status);

/* --- the cases --- */
struct named_case {
    const char *name;
    int32_t partitions;
    size_t workers, gateways;
    void (*play)(struct named *n);
    int64_t window; /* consumer.window; 0 = default */
};
/* Each file's, up to one without a name. */
const struct named_case *named_cases_ends(void);
const struct named_case *named_cases_loss(void);
const struct named_case *named_cases_life(void);
const struct named_case *named_cases_fair(void);

#endif
