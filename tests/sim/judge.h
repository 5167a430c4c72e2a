#ifndef SIM_JUDGE_H
#define SIM_JUDGE_H
#include "tests/sim/crowd.h"

/* Judges the promises from outside: what the logs hold, read by a reader of its own, against what clients saw, what the provider was
 * asked, what Redis shows and what was committed. None of the product's deciding code is used for it. */
struct judge;

struct judge *judge_new(struct plant *p); /* listens to commits from now on */
void judge_free(struct judge *j);
/* Every job in the intake logs has its end there. */
bool judge_all_ended(struct judge *j);
/* All that was committed covers all that is there. */
bool judge_all_committed(struct judge *j);

struct judge_expect {
    bool is_calm; /* nothing was done to this world: every job runs undisturbed */
    bool are_streams_short; /* streams end their life soon after their job: who comes later gets a snapshot */
};
/* When all is over: blames what it finds. */
void judge_all(struct judge *j, struct crowd *c, const struct judge_expect *e);
/* Jobs that did not end, with what is known of them: one blame each. */
void judge_blame_unended(struct judge *j);

/* For named cases. */
struct judged;
struct judged *judge_find(struct judge *j, const char *id); /* reads on first; NULL: never met */
enum job_status judged_end(const struct judged *d);         /* JOB_STATUS_COUNT: none yet */
size_t judged_starts(const struct judged *d);      /* `started` records that count */
size_t judged_lost_starts(const struct judged *d); /* of them, not followed by their own yielded or parked */
size_t judged_handoffs(const struct judged *d);
size_t judged_void(const struct judged *d);        /* records of a lower epoch behind a higher `started`, and later ends */
size_t judged_calls(const struct judged *d, struct plant *p, const char *step, enum call_outcome outcome);
bool judged_runner(const struct judged *d, char ret[32]); /* name of the worker that started it last; false: nobody yet */
size_t judged_checkpoints(const struct judged *d);
size_t judged_records(const struct judged *d); /* in intake topics */
int32_t judged_home(const struct judged *d);
int64_t judged_start_epoch(const struct judged *d, size_t index); /* 0: there is none */
const char *judged_error(const struct judged *d);  /* code of a failed end; "" */
size_t judge_dead_letters(struct judge *j, const char *id);
size_t judge_starts_between(struct judge *j, int64_t from_ms, int64_t to_ms); /* first ones, of all jobs */
int64_t judged_first_start_ms(const struct judged *d);                        /* -1: not started */
/* Most jobs of one key that stood started and not ended at once, by the log. key: its beginning. */
size_t judge_key_most(struct judge *j, const char *key);

#endif
