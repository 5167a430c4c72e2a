#ifndef CONSUMER_JOBRUN_H
#define CONSUMER_JOBRUN_H
#include "consumer/item.h"
#include "consumer/worker_priv.h"

/* One running job: performs what its task asks, and writes the records of its life. See the picture
 * in jobrun.c. */
enum jobrun_state {
    JOBRUN_ACQUIRING,   /* asks Redis for the lease */
    JOBRUN_STARTING,    /* `started` is on its way */
    JOBRUN_CATCHING_UP, /* reads state[p] up to it */
    JOBRUN_INHERITING,  /* reads the checkpoints of the job it repeats, writes them as its own */
    JOBRUN_RUNNING,
    JOBRUN_HANDING,   /* cont or delay record, then yielded or parked */
    JOBRUN_RELEASING, /* what is left of the events, then the lease goes back */
    JOBRUN_BURYING,   /* the dead letter is on its way */
    JOBRUN_CLOSING,   /* the terminal record is on its way */
    JOBRUN_PROVING,   /* reads state[p] up to it: is it the one that counts? */
    JOBRUN_FINISHING, /* tells Redis */
    JOBRUN_GONE,      /* waits for answers still out, then is freed */
    JOBRUN_STATE_COUNT
};
const char *jobrun_state_name(enum jobrun_state s);

enum jobrun_outcome {
    JOBRUN_ENDED,   /* the end stands in the log and in Redis */
    JOBRUN_HANDED,  /* a cont or delay record carries it on */
    JOBRUN_DROPPED, /* another has it, or the log has to say: look again later */
    JOBRUN_BUSY,    /* not begun: leased by busy_owner */
    JOBRUN_RETURNED /* not begun: back into the line */
};

struct jobrun_ending { /* of a job that ends without being run */
    enum job_status status;
    enum problem why;
    const char *message; /* NULL: none is due */
    bool bury;
};

struct jobrun {
    struct list_link link; /* in w->run_list, GONE ones in w->gone_list */
    struct worker *w;
    struct job_id id;
    struct item *item; /* owned until it is over */
    enum jobrun_state state;
    struct mirror mirror;
    struct fn_job job;
    struct task *task;
    struct list calls;
    struct list records;     /* checkpoints on their way */
    struct list evals;       /* expressions out for evaluation */
    struct outbox_entry out; /* the one record of the other kinds */
    unsigned ops;            /* answers awaited: fn, eval */
    struct view busy_owner;  /* for the length of jobrun_over */
    struct timer timer;
    int64_t wake_ms; /* the task's, INT64_MAX = none */
    int64_t epoch, lease_seq;
    int64_t attempt, starts, since;
    int64_t awaited;           /* offset of state[p] to be read past; -1 = none */
    struct list_link awaiting; /* in the list of awaiting_home */
    struct home *awaiting_home;
    int64_t begun_ms, acquired_ms, started_wall_ms;
    bool is_unsure; /* no new call until Redis says that the job is still ours */
    bool must_hear; /* and says so with the whole view of its home */
    bool is_takeover, is_canceled, must_prove, is_paced, is_parking;
    int64_t due_ms;          /* parking: wall */
    struct call_wait wait;   /* as told last, with is_paced; or why it is parked */
    struct list_link paced;  /* in w->paced: told to wait */
    size_t group;            /* of the pacer, until its first call stands in line */
    int64_t charge_microusd; /* of the call whose end is being told */
    int64_t hand_seq;
    struct jobrun_ending ending;
    char *metadata; /* of a job that ends unread */
    /* the end */
    struct mirror_end end;
    struct buf end_view, end_data;
    unsigned end_tries;
    char err_code[40], err_msg[160];
    int64_t input_tokens, output_tokens, call_count;
    void *inherit;                /* a replay under way */
    struct ledger_job *inherited; /* what the job it repeats had done */
};

/* Takes the item (state RUNNING from now on). group: of the pacer, in whose line it will stand.
 * False: no memory; the item is still the caller's. */
bool jobrun_begin(struct worker *w, struct item *item, size_t group);
void jobrun_free(struct jobrun *r); /* worker_free: whatever is out, its answers will not come */
void jobrun_reap(
    struct worker *w); /* end of turn: frees GONE runs that nothing can reach any more */

/* From outside. */
void jobrun_cancel(struct jobrun *r);
void jobrun_drain(struct jobrun *r);
void jobrun_undrain(struct jobrun *r);
void jobrun_cut(
    struct jobrun *r); /* the drain's time is over: calls are broken off, then it is handed over */
void jobrun_on_tail(struct jobrun *r); /* state[p] was read past `awaited` */
void jobrun_on_home_lost(struct jobrun *r);
void jobrun_overtaken(struct jobrun *r); /* the log shows a higher epoch, or another's end */
/* No call before Redis said that the job is still ours. has_gap: the lease was not held for a
 * while, another may have run it to its end; only what the whole view of its home says counts then.
 */
void jobrun_doubt(struct jobrun *r, bool has_gap);
void jobrun_probe(struct jobrun *r); /* Redis may have been wiped */

/* --- between the parts of jobrun ------------------------------------------------------------- */
void jobrun_set(struct jobrun *r, enum jobrun_state s);
/* Leaves the worker's books; the item goes to the home. r only waits for answers from now on. */
void jobrun_over(struct jobrun *r, enum jobrun_outcome outcome);
void jobrun_let_go(struct jobrun *r,
                   enum jobrun_outcome outcome); /* gives the lease back first (not waited for) */
void jobrun_arm(struct jobrun *r);
void jobrun_sure(struct jobrun *r);
bool jobrun_await(struct jobrun *r, int64_t offset);    /* false: the home is not ours */
struct known_job *jobrun_known(const struct jobrun *r); /* NULL: home lost */
int32_t jobrun_partition(const struct jobrun *r);
void jobrun_send_state(struct jobrun *r, enum state_kind kind, int64_t seq, struct view value,
                       outbox_done_fn *done);
void jobrun_event(struct jobrun *r, enum event_type type, struct view members);

/* jobrun_start.c */
void jobrun_start(
    struct jobrun *r); /* `started` stands in the log and nothing speaks against running */
void jobrun_inherited(struct jobrun *r);
/* The view and the numbers go on where the last lease left them. False: no memory. */
bool jobrun_begin_mirror(struct jobrun *r, struct view metadata);
/* jobrun_view.c: the view of a job from what the log knows. NULL: no memory. */
struct jobview *jobrun_view_new(const struct job_head *head, const struct known_job *known,
                                struct view metadata);
/* jobrun_task.c */
bool jobrun_task_new(struct jobrun *r, const struct workflow *wf, struct view input,
                     struct err *err);
void jobrun_pump(struct jobrun *r);
void jobrun_cut_calls(struct jobrun *r, bool tell_text);
void jobrun_drop_task(struct jobrun *r);
void jobrun_drop_records(
    struct jobrun *r); /* checkpoints and expressions whose answers will not come */
struct jobrun_step {
    uint32_t run;   /* the task's */
    const char *id; /* borrowed until the record is through */
    int64_t item;
};
/* Waits for its turn with nothing in hand, and it is far: better sat out in a delay topic.
 * is_tight: the worker has not many places left. */
bool jobrun_may_park(const struct jobrun *r, bool is_tight);
void jobrun_park(struct jobrun *r);
void jobrun_tell_waiting(struct jobrun *r); /* job.waiting as r->wait has it */
/* Writes a checkpoint record. False: no memory. */
bool jobrun_checkpoint(struct jobrun *r, const struct jobrun_step *step, struct view value);
/* jobrun_end.c */
struct jobrun_close {
    enum job_status status;
    struct view output, error; /* raw JSON */
    bool bury;                 /* a dead letter first */
};
void jobrun_close(struct jobrun *r, const struct jobrun_close *c);
void jobrun_close_as(struct jobrun *r, enum job_status status, enum problem why,
                     const char *message, bool bury);
void jobrun_adopt(struct jobrun *r, const struct state_record *terminal);
void jobrun_prove(struct jobrun *r);
void jobrun_on_news(void *arg, enum mirror_news news);
/* jobrun_hand.c */
void jobrun_hand(struct jobrun *r);
void jobrun_release(struct jobrun *r);
/* jobrun_inherit.c */
bool jobrun_inherit(struct jobrun *r); /* false: there is nothing to inherit */
void jobrun_inherit_stop(struct jobrun *r);
bool jobrun_is_completed(struct view checkpoint); /* not a failed or skipped one */

#endif
