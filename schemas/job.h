#ifndef SCHEMAS_JOB_H
#define SCHEMAS_JOB_H
#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/id.h"
#include "common/base/port.h"
#include "schemas/problem.h"

/* The job record: what travels through jobs.*, cont, delay.*, spill.* and dlq. Headers tell all that a decision
 * needs; the value is read only by who runs it:
 *   {"workflow":"onboard","version":3,"input":<raw>,"metadata":<raw>?,"webhook":"..."?,"key":"..."?}
 * Headers (ASCII): v kind job-id tenant class fp workflow key priority attempt max-attempts epoch seq step item
 * created-ms due-ms deadline-ms pin min-build since traceparent origin redrive-of err-code err-msg. Version rule: a
 * reader refuses v > JOB_V_MAX before it looks at anything else (ERR_CONFLICT: a newer worker can read it, so it is
 * not poison), ignores unknown headers and unknown members; a writer of v N leaves out nothing that a reader of N-1
 * needs. Absent headers: number 0, since -1, text "", class interactive, priority 5. */

enum { JOB_V = 1, JOB_V_MAX = 1, TENANT_MAX = 64, WORKFLOW_NAME_MAX = 64, FP_HEX = 64 };

/* Ceilings of what a client sends and a record's value holds. */
enum { JOB_BYTES_MAX = 1 << 20, JOB_METADATA_MAX = 16 << 10, JOB_KEY_MAX = 256, JOB_WEBHOOK_MAX = 2048 };
/* Numbers of records: what a double (Redis' Lua) holds exactly, and an event's id (event.h) too. */
#define JOB_NUMBER_MAX ((int64_t)1 << 53)
#define JOB_SEQ_MAX ((int64_t)9999999999)
enum { JOB_KEY_HEAD = 128, JOB_PRIORITY_DEFAULT = 5, JOB_PRIORITY_MAX = 9 };
#define JOB_HORIZON_MS ((int64_t)12 * 24 * 3600 * 1000) /* run_at, deadlines and waits beyond it are refused */

enum job_status {
#define STATUS(sym, name, terminal) JOB_##sym,
#include "schemas/states.def"
#undef STATUS
    JOB_STATUS_COUNT
};
const char *job_status_name(enum job_status s);
bool job_status_parse(struct view name, enum job_status *ret);
bool job_status_is_terminal(enum job_status s);

enum job_class { CLASS_INTERACTIVE, CLASS_BULK, CLASS_COUNT };
const char *job_class_name(enum job_class c);
bool job_class_parse(struct view name, enum job_class *ret);

struct job_head {
    struct job_id id;
    char tenant[TENANT_MAX];
    enum job_class cls;
    char fp[FP_HEX + 1];
    char workflow[WORKFLOW_NAME_MAX]; /* header "workflow": name@version */
    int64_t version;
    char key[JOB_KEY_HEAD + 1];    /* job_key_head; "" = none */
    int64_t boost;                 /* header priority (0..9), less JOB_PRIORITY_DEFAULT */
    int64_t attempt, max_attempts; /* of records that carry them; 0 = not there */
    int64_t epoch, seq;            /* of the writer's lease and last event, 0 for new jobs */
    int64_t created_ms, due_ms, deadline_ms; /* wall; 0 = none */
    int64_t since;                 /* first state[p] offset of the job, -1 unknown */
    char pin[32], min_build[32];
    char traceparent[64];
    char origin[160];              /* topic/partition/offset of the first record */
    char redrive_of[40];           /* job id this one repeats */
    char err_code[40], err_msg[256];
};

/* Fills rec's key, headers and partition (values point into head and scratch: keep both until rec was published).
 * topic and value are the caller's; more headers may be put behind with record_put. scratch holds numbers as text
 * and needs no initialisation. */
struct job_scratch {
    char text[16][24];
    size_t used;
    char workflow[WORKFLOW_NAME_MAX + 24];
};
/* name@version, in ret. */
enum { JOB_WORKFLOW_REF = WORKFLOW_NAME_MAX + 24 };
struct view job_workflow_ref(const struct job_head *h, char ret[JOB_WORKFLOW_REF]);
void job_head_write(const struct job_head *h, struct record_out *rec, struct job_scratch *scratch);
/* Adds one header; an empty or absent value adds nothing. */
void record_put(struct record_out *rec, const char *name, struct view value);
/* ERR_INVALID: poison (text says which header). ERR_CONFLICT: of a newer version. err-msg is made printable; every
 * other text must be. */
MUST_CHECK enum err_code job_head_read(const struct record_in *rec, struct job_head *ret, struct err *err);
/* A job's key as it travels in the head: as given when it is printable ASCII of at most JOB_KEY_HEAD characters, else
 * sha256: and the hex digits of its hash. */
void job_key_head(struct view key, char ret[JOB_KEY_HEAD + 1]);
/* [A-Za-z0-9][A-Za-z0-9._-]*, shorter than WORKFLOW_NAME_MAX. */
bool job_workflow_name_ok(struct view name);

/* The value. Views point into the bytes given. */
struct job_body {
    struct view workflow;        /* the bare name */
    int64_t version;
    struct view input, metadata; /* raw JSON; metadata VIEW_NONE = absent */
    struct view webhook, key;    /* raw string literals with their quotes; VIEW_NONE = absent */
};
/* False: out is full. */
bool job_body_put(struct buf *out, const struct job_body *b);
/* ERR_INVALID: poison. The whole text is checked, so json_raw_* may be used on every view. */
MUST_CHECK enum err_code job_body_read(struct view value, struct job_body *ret, struct err *err);

/* A client's request body (POST /v1/jobs), checked member by member; views into the text. Times are resolved against
 * now. Problems: INVALID_JSON (err.where pointer), TOO_LARGE (over JOB_BYTES_MAX), UNKNOWN_FIELD, INVALID_FIELD;
 * each with the JSON pointer in err.where. workflow and input are required. err never holds a value of the body. */
struct job_request {
    char workflow[WORKFLOW_NAME_MAX];
    int64_t version; /* 0 = newest */
    struct view input, metadata; /* raw JSON; metadata VIEW_NONE = absent */
    struct view webhook, key;    /* raw string literals with their quotes (json_raw_string); VIEW_NONE = absent */
    enum job_class cls;
    int64_t boost; /* priority less JOB_PRIORITY_DEFAULT */
    int64_t run_at_ms, deadline_ms; /* wall; 0 = none; beyond 12 days is INVALID_FIELD */
};
MUST_CHECK enum err_code job_request_read(struct view body, int64_t wall_ms, struct job_request *ret,
                                          enum problem *ret_problem, struct err *err);

#endif
