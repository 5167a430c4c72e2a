#ifndef SCHEMAS_FN_PRIV_H
#define SCHEMAS_FN_PRIV_H
#include "common/base/list.h"
#include "schemas/fn.h"
#include "schemas/fn_pace.h"
#include "schemas/fn_usage.h"

/* Shared by fn*.c alone. A call is made in three steps: arguments are gathered as views on the stack (struct
 * fn_args), copied once into the call (it may have to be repeated), and the answer is decoded by the call's own
 * function. */

enum { FN_ARGV_MAX = 2 * FN_EVENTS_MAX + 40, FN_NUMBERS_MAX = 16, FN_KEYS_MAX = 5 };

struct fn_args {
    struct view argv[FN_ARGV_MAX];
    size_t count;
    char numbers[FN_NUMBERS_MAX][24];
    size_t number_count;
    char keys[FN_KEYS_MAX][FN_KEY_MAX];
    size_t key_count;
};

void fn_args_function(struct fn_args *a, const char *name, const char *key_count);
void fn_arg(struct fn_args *a, struct view v); /* VIEW_NONE: an empty argument */
void fn_arg_int(struct fn_args *a, int64_t n);
void fn_arg_key(struct fn_args *a, enum fn_key kind, struct view name);
void fn_arg_home(struct fn_args *a, uint32_t home); /* the key built:{home} */
/* The keys of a job: meta, stream; and with all: index, count. */
void fn_arg_job_keys(struct fn_args *a, const struct job_head *head, bool all);

union fn_cb {
    fn_admit_cb *admit;
    fn_meta_cb *meta;
    fn_cancel_cb *cancel;
    fn_done_cb *done;
    fn_lease_cb *lease;
    fn_append_cb *append;
    fn_beat_cb *beat;
    fn_pace_cb *pace;
    fn_pace_view_cb *pace_view;
    fn_usage_cb *usage;
};

struct fn_call;
/* Answers the caller. e is NULL or the reason; r is the reply when e is NULL, never an error reply. */
typedef void fn_decode(const struct fn_call *c, const struct err *e, const struct reply *r);

struct fn_call {
    struct list_link link; /* flying, again or waiting */
    struct fn *fn;         /* NULL: fn_free came before the answer */
    fn_decode *decode;
    union fn_cb cb;
    void *arg;
    unsigned tries;
    size_t items;          /* fn_beat: homes asked; fn_pace_trade: flows told */
    size_t argc;
    struct view argv[];    /* the bytes follow */
};

struct fn_ask {
    fn_decode *decode;
    union fn_cb cb;
    void *arg;
    size_t items;
};
/* Starts a call; argv is copied. Out of memory answers from inside. */
void fn_start(struct fn *f, const struct view *argv, size_t argc, const struct fn_ask *ask);
void fn_start_args(struct fn *f, const struct fn_args *a, const struct fn_ask *ask);

/* The entry that a job makes: its fields as arguments, or all as one text, and the data of its job.queued event.
 * Views live until the next call of the same function. */
struct fn_fields {
    struct view name[10], value[10];
    size_t count;
    char workflow[WORKFLOW_NAME_MAX + 24], created[24], deadline[24];
};
void fn_arg_fields(struct fn_args *a, struct fn_fields *keep, const struct fn_job *job);
struct view fn_pack_fields(struct fn *f, const struct fn_job *job);
struct view fn_queued_data(struct fn *f, const struct fn_job *job);
/* id, created-ms, cutoff of the index. */
void fn_arg_entry(struct fn_args *a, const struct fn_job *job);
/* False: the reply is not in shape; e is ERR_PROTOCOL. */
bool fn_expect(bool ok, const char *what, struct err *e);
bool fn_read_int(const struct reply *r, size_t index, int64_t *ret);
void fn_decode_done(const struct fn_call *c, const struct err *e, const struct reply *r);

#endif
