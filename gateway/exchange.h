#ifndef GATEWAY_EXCHANGE_H
#define GATEWAY_EXCHANGE_H
#include "common/base/list.h"
#include "common/base/metrics.h"
#include "common/io/httpd.h"
#include "gateway/auth.h"
#include "gateway/cors.h"
#include "gateway/fields.h"
#include "gateway/route.h"
#include "gateway/submit.h"
#include "gateway/tail.h"
#include "gateway/token.h"

/* One request on its way to its one answer, and what the endpoint files share. An exchange ends
 * with its answer; when the client leaves before, what it waits for is told to forget it, and
 * answers that cannot be told (of Redis) find it gone by exchange_held. */
enum { EXCHANGE_CODES = 24 };

struct route_stats { /* series of one route, found once */
    struct {
        int code;
        struct metric_series *series;
    } codes[EXCHANGE_CODES];
    struct metric_series *seconds;
};

/* What endpoints need of the process; service.c fills it. */
struct service {
    const struct config *config;  /* of the start */
    const struct config *current; /* as read last: tenants, providers and models of a reload */
    struct loop *loop;
    struct log *log;
    const struct clock *clock;
    struct timerq *timers;
    struct rng *rng;
    struct fn *fn;
    struct redis_port reads;
    struct topics topics;
    struct id_space space;
    struct auth *auth;
    struct token_key token_key;
    struct workflows *workflows;
    struct producer *producer;
    struct quota *quota;
    struct submit *submit;
    struct folds *folds;
    struct tails *tails;
    char boot[64];    /* Redis' boot id, "" = not known */
    int64_t asked_ms; /* for the boot id */
    bool is_asking, has_met_redis;
    int64_t doubt_ms; /* the last sign of trouble with Redis, monotonic: the view may lack accepted
                         jobs */
    bool is_told[JOB_ID_PARTITIONS_MAX]; /* this home's owner has said since that it lacks none */
    bool is_kafka_ready;                 /* topics are there */
    bool is_stopping;
    struct buf scratch; /* for bodies of answers: reset by who uses it */
    struct list exchanges;
    struct metric_series *resumed_past_end;    /* a cursor that was the terminal event: 204 */
    struct metric *requests, *seconds;         /* families */
    struct route_stats stats[ROUTE_COUNT + 1]; /* the last: no route */
    const struct kafka_options *kafka;         /* for reading a record back */
};

struct exchange {
    struct list_link link;
    struct service *s;
    struct httpd_request *r; /* NULL: the client is gone */
    const struct route *route;
    int64_t start_ms;
    unsigned held; /* answers on their way that cannot be told to forget us */
    struct auth_who who;
    struct job_id job; /* of the path */
    char request_id[REQUEST_ID_MAX + 1];
    char *origin; /* CORS: the origin let in; owned, NULL = none */
    /* what it waits for */
    struct submission *submission;
    struct fold *fold;
    struct watcher *watcher;
    struct timer timer;
    void *own;                   /* of the endpoint */
    void (*own_free)(void *own); /* called with the exchange's end; NULL = nothing to free */
    /* wishes */
    bool wants_stream, is_replay;
    enum watch_format format;
    struct event_id cursor;
    int64_t wait_s; /* -1 = none */
    int status;     /* of the answer to come */
    char location[64];
    char *accepted; /* body of the 202 that may still have to be given; owned */
};

/* service.c: something was slow or away; the view may lack accepted jobs */
void service_doubt(struct service *s);
/* exchange.c */
struct exchange *exchange_new(struct service *s, struct httpd_request *r); /* NULL: no memory */
/* Frees those that still wait for an answer that will never come. */
void exchanges_drop(struct service *s);
/* front.c: from httpd */
void exchange_on_request(void *service, struct httpd_request *r);
void exchange_on_refuse(void *service, int status, const char *reason, struct buf *body,
                        const char **content_type);

/* --- answering: each ends the exchange --- */
struct answer {
    int status;
    const char *content_type; /* NULL = application/json */
    struct view body;
    struct httpd_header_out headers[8];
    size_t header_count;
};
void exchange_answer(struct exchange *x, const struct answer *a);
void exchange_problem(struct exchange *x, const struct problem_body *b, int64_t retry_after_s);
/* A problem without particulars. */
void exchange_refuse(struct exchange *x, enum problem problem, const char *detail);
/* 404, the same for everything that is not there for this caller; 503 while its home is not built,
 * or may lack accepted jobs. May ask Redis first: returns, and answers later. */
void exchange_unknown(struct exchange *x, bool built);
/* An id that no job can ever have. */
void exchange_impossible(struct exchange *x);
/* Begins a stream of x->watcher; the exchange lives until the stream ends. */
void exchange_stream(struct exchange *x);
/* Is this job the caller's to see? */
bool exchange_may_see(const struct exchange *x, const struct fn_meta *m);
bool exchange_flag(const struct exchange *x, const char *name); /* ?name=true */
bool exchange_has_query(const struct exchange *x, const char *name);
/* Pairs of these stand round a call whose answer cannot be told to forget us. False: gone, return
 * at once. */
void exchange_hold(struct exchange *x);
MUST_CHECK bool exchange_held(struct exchange *x);

/* --- endpoints --- */
void page_root(struct exchange *x); /* pages.c */
void page_openapi(struct exchange *x);
void page_workflows(struct exchange *x);
void page_workflow(struct exchange *x, struct view name);
void jobs_submit(struct exchange *x);          /* jobs.c */
void jobs_answer_accepted(struct exchange *x); /* 202 from x->accepted */
void jobs_answered(void *exchange,
                   const struct submit_answer *a); /* a submit_answer_fn; also for retry */
void get_job(struct exchange *x);                  /* get.c */
/* The job as it is now, with this status and x->location; exchange's other fields as they are. */
void get_answer(struct exchange *x, int status);
void get_answer_body(struct exchange *x, struct view body); /* with x->status */
/* True: it will answer with this job and what it waits for. queued.c */
bool queued_guess(struct exchange *x, struct view body);
void list_jobs(struct exchange *x);                           /* list.c */
void events_job(struct exchange *x);                          /* events.c */
void events_open(struct exchange *x, struct event_id cursor); /* of x->job */
bool events_read_format(struct exchange *x);                  /* false: answered */
void cancel_job(struct exchange *x);                          /* cancel.c */
void retry_job(struct exchange *x);                           /* retry.c */
void retry_accepted(struct exchange *x);                      /* its submission was accepted */
void grant_token(struct exchange *x);                         /* grant.c */
void usage_get(struct exchange *x);                           /* usage.c */
void limits_get(struct exchange *x);                          /* limits.c */

#endif
