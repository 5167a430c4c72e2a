#ifndef GATEWAY_SUBMIT_H
#define GATEWAY_SUBMIT_H
#include "common/base/id.h"
#include "gateway/admit.h"
#include "gateway/quota.h"
#include "producer/producer.h"
#include "schemas/fn.h"

/* The whole path of a submission behind the HTTP parse, against ports: no sockets, no loop, so the
 * simulation runs it.
 *
 *   checks -> [QUOTA: count asked again] -> [RESERVING: keyed] -> PUBLISHING -> ADMITTING ->
 * answered
 *
 * A 202 means: the record is acknowledged by every in-sync replica. It waits at most
 * SUBMIT_ADMIT_MS for the view. */
struct submit;
struct submission; /* one under way */
enum { SUBMIT_ADMIT_MS = 50 };

struct submit_options { /* everything borrowed for the life of the submit */
    struct producer *producer;
    const struct topics *topics;
    struct fn *fn;
    const char *boot; /* Redis' boot id as it is now, "" = not known */
    struct quota *quota;
    const struct clock *clock;
    struct timerq *timers;
    struct rng *rng;
    struct id_space space;
    int64_t results_ms;            /* retention.results: for the index */
    size_t value_max;              /* bytes of a record's value; more is PROBLEM_TOO_LARGE */
    size_t under_way_max;          /* more is refused with 503 */
    void (*on_trouble)(void *arg); /* a job is accepted that the view lacks; NULL: nobody minds */
    void *arg;
};
struct submit *submit_new(const struct submit_options *o,
                          const struct workflows *ws); /* ws borrowed */
void submit_free(
    struct submit *s); /* ports call nothing afterwards; nobody under way is answered */
void submit_set_workflows(struct submit *s,
                          const struct workflows *ws); /* a reload; the old set may go at once */
/* Nothing is published any more: what still has to be is refused. */
void submit_stop(struct submit *s);
size_t submit_under_way(const struct submit *s);

struct submit_request { /* borrowed for the call */
    struct view tenant;
    int64_t max_queued; /* 0 = no limit */
    struct view body;
    struct view idempotency; /* the key decoded; VIEW_NONE = none */
    struct view traceparent; /* checked; VIEW_NONE = none */
};

struct submit_answer { /* valid for the callback */
    bool is_accepted;
    bool is_replay;               /* the key's job was there before */
    const struct job_head *head;  /* accepted, or a 503 whose record may have landed; else NULL */
    enum job_status status;       /* accepted */
    enum problem problem;         /* refused */
    const char *detail, *pointer; /* refused; may be NULL */
    int64_t retry_after_s;        /* 0 = none */
};
typedef void submit_answer_fn(void *arg, const struct submit_answer *a);

/* Answers exactly once, perhaps from inside the call (then NULL is returned), unless forgotten. */
struct submission *submit_start(struct submit *s, const struct submit_request *r,
                                submit_answer_fn *fn, void *arg);
/* The client left: the submission goes on, its answer goes nowhere. */
void submission_forget(struct submission *n);

/* A ready record (retry): publishes, admits, answers like a submission. */
struct submission *submit_record(struct submit *s, const struct job_head *head,
                                 const struct job_body *body, int64_t max_queued,
                                 submit_answer_fn *fn, void *arg);

#endif
