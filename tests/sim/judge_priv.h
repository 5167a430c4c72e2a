#ifndef SIM_JUDGE_PRIV_H
#define SIM_JUDGE_PRIV_H
#include "common/base/map.h"
#include "tests/sim/judge.h"

/* judge_log.c reads, judge_commit.c watches over commits, judge.c compares at the end. */
enum { JUDGE_JOBS_MAX = 2000, JUDGE_LIST_MAX = 4000 };

struct judged_record { /* a record that can start a job */
    enum topic topic;
    int64_t offset, epoch, seq;
    char fp[FP_HEX + 1];
    bool is_complete; /* by what is committed */
};
struct judged_start {
    int64_t epoch, offset, at_ms;
    char worker[40]; /* name:boot */
    bool is_handed; /* its own yielded or parked came */
};
struct judged_checkpoint {
    char step[STEP_ID_MAX];
    int64_t item, at_ms;
    struct view value;
};
struct judged {
    char id[40];
    int32_t home;
    char tenant[TENANT_MAX], key[32];
    struct judged_record *records;
    size_t record_count;
    struct judged_start *starts;
    size_t start_count;
    struct judged_checkpoint *checkpoints;
    size_t checkpoint_count;
    size_t handoffs, void_count, dead_letters;
    int64_t deadline_ms;        /* of its record; 0 = none */
    int64_t first_state, epoch; /* -1; highest started */
    bool has_end;
    enum job_status end;
    struct event_id end_id;
    int64_t end_offset, end_ms, end_wall_ms;
    struct view end_value;
    char error[40];
    bool was_canceled; /* a cancel record of its own tenant before the end */
};

struct judge {
    struct plant *plant;
    struct map *by_id;
    struct judged *jobs[JUDGE_JOBS_MAX];
    size_t count;
    int64_t next[TOPIC_COUNT][16];
    struct judged **by_offset[TOPIC_COUNT][16]; /* whose record an intake offset is */
    size_t by_offset_max[TOPIC_COUNT][16];
};

void judge_read(struct judge *j); /* judge_log.c: all that was appended since */
void judge_on_commit(void *judge, enum topic topic, int32_t partition, int64_t offset, const char *metadata);
bool judge_is_intake(enum topic t);

#endif
