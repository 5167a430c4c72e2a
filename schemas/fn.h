#ifndef SCHEMAS_FN_H
#define SCHEMAS_FN_H
#include "common/base/arena.h"
#include "common/base/port.h"
#include "schemas/event.h"
#include "schemas/state.h"

/* The Redis functions (schemas/redis/sluice_v1.lua, library sluice_v1, functions named sluice_v1_<verb>) as C calls:
 * encoding of arguments and decoding of answers. Pure apart from the port handed in. The library is loaded on
 * demand: an answer "Function not found" loads it (once for all waiting calls) and repeats the call, in order.
 * Libraries of their own stand beside it: sluice_pace_v1 (fn_pace.h), sluice_usage_v1 (fn_usage.h).
 *
 * Keys ({..} are literal braces: a job's keys share a hash tag): j:{<id>}:m hash, j:{<id>}:e stream, channel
 * j:{<id>}; w:<incarnation> heartbeat and channel of the same name; ix:{<tenant>} ZSET of ids by created-ms;
 * q:{<tenant>} count of unended jobs; built:{<p>} = Redis boot id whose view of p is complete, or a rebuild's token;
 * told:{<p>} = every job that waited in p by then stands in the view, as its owner said last;
 * rl:{<name>} budgets.
 * Made by fn_key. Meta fields: st status, ep epoch, ow owner incarnation ("" after a clean release), sq seq, cx
 * cancel flag (1), tn tenant, cl class, fp, wf name@version, cr created-ms, sa started-ms, en ended-ms, at attempt,
 * md metadata raw, og origin, dl deadline-ms, vw finished job view (JSON), us and co its usage and cost (JSON), rs
 * reserved only (1), tk put there by a rebuild, or by an owner that gave up: the next acquire is a takeover (1), ro
 * retry_of, ra retried_as. */
struct fn;
struct fn *fn_new(struct redis_port port); /* the port must outlive it */
void fn_free(struct fn *f);                /* pending calls are dropped: their callbacks are not called */
struct redis_port *fn_port(struct fn *f);

enum fn_key {
    FN_KEY_META,    /* of a job id */
    FN_KEY_EVENTS,  /* of a job id */
    FN_KEY_CHANNEL, /* of a job id */
    FN_KEY_BEAT,    /* of an incarnation; also its channel */
    FN_KEY_INDEX,   /* of a tenant */
    FN_KEY_COUNT,   /* of a tenant */
    FN_KEY_BUILT,   /* of a home, in decimal */
    FN_KEY_TOLD,    /* of a home, in decimal */
    FN_KEY_BUDGET   /* of a budget's name */
};
enum { FN_KEY_MAX = 160 };
/* Writes the key's name (NUL-terminated) and returns it as a view of ret; a name that does not fit is cut. */
struct view fn_key(enum fn_key kind, struct view name, char ret[FN_KEY_MAX]);

/* Every call answers exactly once, never from inside the call: e NULL and the decoded result, or e (ERR_UNAVAILABLE,
 * ERR_TIMEOUT, ERR_FULL from the port; ERR_UNAVAILABLE, ERR_PROTOCOL from Redis' answer; ERR_NOMEM). */

/* --- gateway side ------------------------------------------------------------------------------------------- */
struct fn_job { /* what a meta entry is made of */
    const struct job_head *head;
    struct view metadata;   /* raw JSON or VIEW_NONE */
    int64_t queued_ts_ms;   /* stamp of the job.queued event = created_ms */
    int64_t index_ms;       /* retention.results: older index entries are trimmed (a few a call) */
};
enum fn_admit_kind { FN_ADMIT_CREATED, FN_ADMIT_EXISTS, FN_ADMIT_OTHER_PAYLOAD, FN_ADMIT_UNBUILT };
struct fn_admitted {
    enum fn_admit_kind kind;
    enum job_status status;
    bool reserved;  /* of fn_reserve: EXISTS, but only reserved: an earlier try did not come to its end */
    int64_t queued; /* q:{tenant} after it */
};
typedef void fn_admit_cb(void *arg, const struct err *e, const struct fn_admitted *a);
/* Create if absent, never overwrite (metadata that acquire could not know is added); first event job.queued under
 * 0-1; counts. A reservation of the same fp becomes the entry. */
void fn_admit(struct fn *f, const struct fn_job *job, fn_admit_cb *cb, void *arg);
/* Keyed submissions, before the record is written: holds the id for this fp (60 s). CREATED: go on; EXISTS: same fp,
 * already admitted (status says) or reserved; OTHER_PAYLOAD; UNBUILT: nothing stands there, but the view of its home is
 * not whole under this boot id, so the key may have been used before. */
void fn_reserve(struct fn *f, const struct job_head *head, struct view boot, fn_admit_cb *cb, void *arg);

/* One job's meta for reading. found false: unknown; built tells whether built:{p} holds this boot id (unknown and
 * built = 404, unknown and unbuilt = 503). reserved: held by fn_reserve, perhaps never submitted: not a job yet. */
struct fn_meta {
    bool found, built;
    enum job_status status;
    int64_t epoch, seq, attempt, created_ms, started_ms, ended_ms, deadline_ms;
    bool cancel, reserved;
    /* borrowed for the callback; workflow is name@version */
    struct view tenant, owner, fp, workflow, cls, metadata, view, origin, retry_of, retried_as;
};
typedef void fn_meta_cb(void *arg, const struct err *e, const struct fn_meta *m);
void fn_meta(struct fn *f, const struct job_id *id, struct view boot, fn_meta_cb *cb, void *arg);

/* Sets the cancel flag and wakes the owner (PUBLISH w:<owner> "cancel <id>"). ended: nothing changed. */
struct fn_canceled {
    bool found, ended;
    enum job_status status;
};
typedef void fn_cancel_cb(void *arg, const struct err *e, const struct fn_canceled *c);
void fn_cancel(struct fn *f, const struct job_id *id, fn_cancel_cb *cb, void *arg);
/* Marks an ended job as retried (ra) once. Verdicts: ok (also when it is this new id already), taken (another retry
 * stands), live, gone. */
typedef void fn_done_cb(void *arg, const struct err *e, struct view verdict); /* "ok" or a reason word */
void fn_link_retry(struct fn *f, const struct job_id *old_id, const struct job_id *new_id, fn_done_cb *cb, void *arg);

/* All that waited in a home so long ago is known, as its owner said last (fn_tell). verdict: milliseconds by Redis'
 * clock, in decimal (negative where it was set back), or "never". */
void fn_told(struct fn *f, uint32_t home, fn_done_cb *cb, void *arg);

/* --- worker side ------------------------------------------------------------------------------------------------ */
struct fn_lease_ask {
    const struct fn_job *job;
    struct view incarnation; /* "<worker>:<boot>" */
    struct view boot;        /* Redis boot id: must equal built:{p} */
    int64_t epoch_floor;     /* highest epoch seen in state[p] */
    int64_t seq_floor;       /* highest seq seen there */
    int64_t attempt;
};
enum fn_lease_kind { FN_LEASE_OK, FN_LEASE_BUSY, FN_LEASE_ENDED, FN_LEASE_UNBUILT };
struct fn_lease {
    enum fn_lease_kind kind;
    int64_t epoch, seq;     /* OK: ours, and max(stored last seq, seq_floor). Stored lower: the first append says GAP */
    bool takeover;          /* somebody may have held it before: read state[p] up to our `started` first */
    bool cancel;
    enum job_status status; /* ENDED */
    struct view owner;      /* BUSY; borrowed */
};
typedef void fn_lease_cb(void *arg, const struct err *e, const struct fn_lease *l);
/* Epoch by compare-and-set: max(stored + 1, TIME ms, floor + 1). BUSY while another incarnation's heartbeat key
 * exists; that one is asked by "held <id>" on its channel, and disclaims what it does not run. Creates the entry as
 * admit does when it is absent; over a reservation of any fp (the record in the log is the truth). */
void fn_acquire(struct fn *f, const struct fn_lease_ask *ask, fn_lease_cb *cb, void *arg);

struct fn_event {
    enum event_type type;
    struct view data;
};
enum { FN_EVENTS_MAX = 64 };
struct fn_append {
    struct job_id id;
    int64_t epoch;
    uint64_t first_seq;
    const struct fn_event *events;
    size_t count;            /* 0 = only asks for the flags; at most FN_EVENTS_MAX */
    const char *status;      /* new st, or NULL */
    int64_t attempt;         /* new at, or 0 */
};
/* OK; FENCED: another holds or held the lease since, or it was given back: drop the job; GONE: no entry, or a
 * rebuilt one that does not know its owner: fn_restore; GAP: the stored seq is behind: fn_restore; ENDED. */
enum fn_append_kind { FN_APPEND_OK, FN_APPEND_FENCED, FN_APPEND_GONE, FN_APPEND_GAP, FN_APPEND_ENDED };
struct fn_appended {
    enum fn_append_kind kind;
    bool cancel;
    int64_t seq;     /* stored seq now */
    int64_t entries; /* length of the stream; of a short one its last seq, which is no less; 0 of a refusal */
};
typedef void fn_append_cb(void *arg, const struct err *e, const struct fn_appended *a);
/* Appends under explicit ids and rings the doorbell. A repeat of what is stored is OK. */
void fn_append(struct fn *f, const struct fn_append *a, fn_append_cb *cb, void *arg);

/* A live owner puts its job back (GONE, GAP, wipe), or compacts (trim: MINID to the snapshot): meta as given when
 * absent or of an epoch <= ours, snapshot under <epoch>-<seq>. seq is the last event the snapshot covers; when
 * compacting, a new seq (last + 1). A repeat is OK. */
struct fn_restore {
    const struct fn_job *job;
    struct view incarnation;
    int64_t epoch, attempt, started_ms;
    uint64_t seq;
    const char *status;
    struct view snapshot; /* job.snapshot data */
    bool trim;
};
void fn_restore(struct fn *f, const struct fn_restore *r, fn_append_cb *cb, void *arg);

struct fn_finish {
    const struct fn_job *job;    /* creates the entry when absent (mirror after a wipe) */
    int64_t lease_epoch;         /* who asks: refused FENCED when meta.ep is higher */
    struct event_id id;          /* of the terminal event, as in the terminal record */
    enum job_status status;
    struct view data, view;      /* terminal event data; finished job view */
    struct view snapshot;        /* job.snapshot data, put at seq - 1 when that is not the stored seq; none: GAP */
    /* Events right before the end, under id.epoch: appended first, a call less. What is stored is left alone. */
    const struct fn_event *events;
    size_t event_count;          /* at most FN_EVENTS_MAX */
    int64_t started_ms, ended_ms, attempt;
    int64_t results_ms, events_ms; /* retention: TTLs of meta and stream */
};
/* TTLs count from now when a live entry ends, from ended_ms when the entry is made here. A repeat is OK; another end
 * than the stored one is ENDED. */
void fn_finish(struct fn *f, const struct fn_finish *r, fn_append_cb *cb, void *arg);
/* Gives the lease back: owner cleared when epoch is ours, st set to status. "running" means abandoned, with records
 * perhaps on their way: the next acquire is a takeover. Verdicts: ok, ended, fenced, gone. */
void fn_release(struct fn *f, const struct job_id *id, int64_t epoch, const char *status, fn_done_cb *cb, void *arg);
/* This incarnation does not run that job, whatever the entry says: the owner is cleared if it is this one, and the next
 * acquire is a takeover. Verdicts: ok, ended, fenced (another's by now), gone. */
void fn_disclaim(struct fn *f, const struct job_id *id, struct view incarnation, fn_done_cb *cb, void *arg);

/* An event of a job that nobody runs, under the next seq: data is an event whose seq is 0, which is replaced. The
 * status becomes that of the event (job.waiting: waiting). Verdicts: ok, held (somebody runs it), ended, gone. */
void fn_note(struct fn *f, const struct job_id *id, enum event_type type, struct view data, fn_done_cb *cb, void *arg);

/* Heartbeat: SET w:<incarnation> info PX ttl, and the built:{p} values of the homes asked. */
struct fn_beat {
    struct view incarnation, info; /* info: JSON for the fleet list */
    int64_t ttl_ms;
    const uint32_t *homes;
    size_t home_count;             /* at most JOB_ID_PARTITIONS_MAX */
};
typedef void fn_beat_cb(void *arg, const struct err *e, const struct view *built, size_t count); /* VIEW_NONE: absent */
void fn_beat(struct fn *f, const struct fn_beat *b, fn_beat_cb *cb, void *arg);
void fn_unbeat(struct fn *f, struct view incarnation, fn_done_cb *cb, void *arg); /* DEL w:..., publishes "end" there */
/* Is the heartbeat of an incarnation there? verdict "alive" or "gone". */
void fn_alive(struct fn *f, struct view incarnation, fn_done_cb *cb, void *arg);
/* Redis' boot id: run_id of INFO server. verdict = the id. */
void fn_boot(struct fn *f, fn_done_cb *cb, void *arg);
/* A rebuild of a home's view. Begin leaves its token (at most FN_TOKEN_MAX bytes, never to be repeated) in built:{p};
 * end turns it into boot, which says that the view is whole. Verdicts: ok; built: it is whole already; end also lost:
 * the token is gone, by a wipe or another rebuild, and with it perhaps some of what was written since. */
enum { FN_TOKEN_MAX = 256 };
void fn_build_begin(struct fn *f, uint32_t home, struct view boot, struct view token, fn_done_cb *cb, void *arg);
void fn_build_end(struct fn *f, uint32_t home, struct view boot, struct view token, fn_done_cb *cb, void *arg);
/* The owner of a home: the jobs that waited there age_ms ago all stand in the view. verdict ok. */
void fn_tell(struct fn *f, uint32_t home, int64_t age_ms, fn_done_cb *cb, void *arg);
/* Rebuild: an unended job nobody is known to run (queued, parked, yielded or started by the dead): entry and
 * job.queued if absent; a standing entry keeps owner, seq and status, its epoch rises to the floor, and its next
 * acquire is a takeover. Verdicts: ok, ended. */
void fn_rebuild(struct fn *f, const struct fn_job *job, int64_t epoch_floor, const char *status, fn_done_cb *cb,
                void *arg);

#endif
