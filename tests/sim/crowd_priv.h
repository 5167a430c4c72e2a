#ifndef SIM_CROWD_PRIV_H
#define SIM_CROWD_PRIV_H
#include "common/base/list.h"
#include "tests/sim/crowd.h"

struct crowd {
    struct plant *plant;
    struct sim_gateway *const *gateways;
    size_t gateway_count;
    struct crowd_job *jobs[CROWD_JOBS_MAX];
    size_t count;
    struct list errands; /* small requests under way */
    struct crowd_get lists[PLANT_TENANTS];
    size_t gets_open;
    bool is_calm;
};

int64_t crowd_chance(const struct crowd *c, int64_t below);
/* A gateway that runs; NULL: none. */
struct sim_gateway *crowd_gateway(const struct crowd *c);
/* An envelope that finds fn's arg alive: the crowd lives as long as its world runs. */
void crowd_after(const struct crowd *c, int64_t delay_ms, sim_fn *fn, void *arg);

enum { CROWD_ANSWER_MAX = 2 << 20 };
struct model_web *crowd_web_of(struct sim_gateway *g); /* NULL: nobody listens there */
bool crowd_read_id(const struct buf *body, const char *member, char ret[40]);
struct crowd_job *crowd_job_new(struct crowd *c, const struct crowd_wish *wish);
void crowd_accept(struct crowd_job *j, struct view id);

/* crowd_errand.c */
void crowd_cancel_go(void *job); /* a sim_fn */
void crowd_peek_go(void *job);   /* the same */
void crowd_errands_free(struct crowd *c);

/* crowd_watch.c */
struct crowd_watch *crowd_watch_new(struct crowd_job *j);
void crowd_watch_free(struct crowd_watch *w);
void crowd_watch_connect(void *watch); /* a sim_fn */
/* The submit's own answer is a stream: w reads it as its first connection. */
void crowd_watch_take_over(struct crowd_watch *w);
void crowd_watch_body(struct crowd_watch *w, struct view bytes);
void crowd_watch_end(struct crowd_watch *w, bool is_whole);
/* Its end was seen for the first time. */
void crowd_on_end(struct crowd_job *j);

#endif
