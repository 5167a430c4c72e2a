#ifndef SIM_CROWD_H
#define SIM_CROWD_H
#include "schemas/event.h"
#include "tests/sim/plant.h"
#include "tests/sim/sim_gateway.h"

/* The clients of a world: they submit, watch, leave and come back through any gateway, cancel, repeat, and peek at what is not theirs.
 * They are outside: they know what an HTTP client knows. What they see breaking a promise they blame at once. */
struct crowd;

struct crowd *crowd_new(struct plant *p, struct sim_gateway *const *gateways, size_t gateway_count);
void crowd_free(struct crowd *c); /* before the world ends; its envelopes find nobody */

enum crowd_mode { CROWD_PLAIN, CROWD_WAIT, CROWD_STREAM };
struct crowd_wish {
    size_t tenant;
    const char *workflow;
    const char *input;      /* JSON */
    const char *members;    /* more members of the body, with a comma first; NULL = none */
    const char *key;        /* Idempotency-Key; NULL = none */
    enum crowd_mode mode;
    unsigned watchers;      /* besides the submitter */
    int64_t cancel_after_ms; /* after the 202; -1 = never */
    int64_t repeat_after_ms; /* POST retry so long after its end was seen, twice at once; -1 = never. Needs a watcher */
    bool peeks;             /* a foreigner tries what he can */
};
enum { CROWD_JOBS_MAX = 400, CROWD_SEEN_MAX = 4000 };

struct crowd_job { /* one wish as its client sees it */
    struct crowd *crowd;
    size_t index, tenant;
    char workflow[16], key[40], id[40]; /* id "": not known */
    char *body;
    enum crowd_mode mode;
    unsigned watchers;
    int64_t cancel_after_ms, repeat_after_ms;
    bool peeks;
    bool is_settled;   /* submitted for good, or given up */
    bool is_accepted;  /* some answer was 202, or 200 with the job */
    bool is_mismatch;  /* 422: another payload came first */
    bool has_asked_cancel, is_cancel_answered;
    int64_t accepted_ms;
    int64_t canceled_ms;   /* when the cancel was acknowledged; -1 = not */
    struct crowd_job *repeat_of, *repeated; /* retries */
    bool has_repeated;
    struct crowd_watch *first_watch;
    struct crowd_get *final; /* the answer of crowd_ask_all */
    /* under way */
    struct model_request *request;
    struct sim_gateway *gateway;
    unsigned life; /* of the gateway when it was asked */
    int status;
    struct buf answer;
    unsigned tries;
    struct crowd_watch *streaming; /* CROWD_STREAM: who reads the submit's own answer */
};

struct crowd_seen {
    struct event_id id; /* {0, 0}: reset */
    enum event_type type;
    char *data;
    size_t len;
};
struct crowd_watch { /* one logical watcher, over all its connections */
    struct crowd_watch *next; /* of the same job */
    struct crowd_job *job;
    bool is_ndjson, is_slow, is_done;
    struct crowd_seen *seen;
    size_t seen_count;
    bool has_end, is_open;
    size_t sessions, resets;
    struct event_id cursor, end; /* end: {0, 0} until it was seen */
    bool wants_snapshot; /* a reset came: a snapshot must follow */
    bool has_skipped;    /* a snapshot stood for some of its history */
    /* under way */
    struct model_request *request;
    struct sim_gateway *gateway;
    unsigned life; /* of the gateway when it came */
    int status;
    struct buf bytes;
    struct crowd_text *texts; /* of streaming steps */
};

struct crowd_get {
    int status;
    struct buf body;
    bool is_done;
};

struct crowd_job *crowd_submit(struct crowd *c, const struct crowd_wish *wish);
/* The faults are over: nobody leaves any more. */
void crowd_calm(struct crowd *c);
/* Every wish came to its answer, every watcher of an accepted job to the end. */
bool crowd_is_done(const struct crowd *c);
/* GET of every accepted job, and every tenant's list; done when crowd_has_all. */
void crowd_ask_all(struct crowd *c);
bool crowd_has_all(const struct crowd *c);
const struct crowd_get *crowd_list(const struct crowd *c, size_t tenant);
size_t crowd_count(const struct crowd *c);
struct crowd_job *crowd_job(const struct crowd *c, size_t index);
/* An accepted job by its id; NULL: none. */
struct crowd_job *crowd_find(const struct crowd *c, struct view id);
size_t crowd_resets(const struct crowd *c);

#endif
