#ifndef GATEWAY_FOLD_H
#define GATEWAY_FOLD_H
#include "schemas/fn.h"
#include "schemas/jobview.h"

/* A job read whole: its meta, then its stream folded page by page; when the stream is gone, the
 * finished view that meta keeps. Answers GET, and makes the snapshots of watchers whose history is
 * gone. Against ports. */
struct folds;
struct fold; /* one under way */

struct folds_options { /* borrowed for life */
    struct fn *fn;
    struct redis_port reads;
    const char *boot;   /* Redis' boot id as it is now, "" = not known */
    size_t active_max;  /* at once; further ones wait their turn */
    size_t waiting_max; /* more are answered ERR_FULL */
};
struct folds *folds_new(const struct folds_options *o);
void folds_free(struct folds *fs); /* nobody under way is answered; ports call nothing afterwards */

struct fold_result {      /* valid for the callback */
    bool found;           /* false: unknown, or another tenant's */
    bool built;           /* not found: is the view of its home whole? */
    struct jobview *view; /* found. Without its end when that was asked */
    bool has_stream;
    struct event_id last; /* has_stream: the last entry in view; {0, 0} when there is none */
    bool has_end; /* the terminal event, from the stream or made of the view that meta keeps */
    struct event_id end_id;
    enum event_type end_type;
    struct view end_data;
};
typedef void fold_fn(void *arg, const struct err *e, const struct fold_result *r);

struct fold_ask {
    struct job_id job;
    struct view tenant; /* VIEW_NONE: not checked */
    bool without_end;   /* the view stops before the terminal event */
};
/* fn is called exactly once, never from inside the call, unless forgotten. NULL: no memory, or too
 * many wait. */
struct fold *fold_start(struct folds *fs, const struct fold_ask *ask, fold_fn *fn, void *arg);
void fold_forget(struct fold *f);

#endif
