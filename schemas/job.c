/* The head of a job record: the headers a worker decides by.
 *
 * What is hard: this runs for every record of every followed topic, and the headers come from a log
 * that may hold bytes of anybody. So it is one pass: a table names every header with its kind and
 * its place in struct job_head, and the search for a name begins behind the one found before,
 * because writers put headers in the order of the table: one comparison a header. Strict: a bad
 * number, a text that is too long or not printable, the same header twice or a missing id is
 * poison, said by name. The version is looked at before anything else: a record of a newer version
 * may have changed any rule. */
#include "schemas/job.h"

#include "common/base/hash.h"
#include <assert.h>

static const struct {
    const char *name;
    bool terminal;
} job_statuses[] = {
#define STATUS(sym, name, terminal) {name, terminal},
#include "schemas/states.def"
#undef STATUS
};

static const char *const job_classes[] = {
    [CLASS_INTERACTIVE] = "interactive", [CLASS_BULK] = "bulk"};

const char *job_status_name(enum job_status s)
{
    assert(s < JOB_STATUS_COUNT);
    return job_statuses[s].name;
}

bool job_status_parse(struct view name, enum job_status *ret)
{
    for (unsigned i = 0; i < JOB_STATUS_COUNT; i++) {
        if (!view_eq_str(name, job_statuses[i].name)) continue;
        *ret = (enum job_status)i;
        return true;
    }
    return false;
}

bool job_status_is_terminal(enum job_status s)
{
    assert(s < JOB_STATUS_COUNT);
    return job_statuses[s].terminal;
}

const char *job_class_name(enum job_class c)
{
    assert(c < CLASS_COUNT);
    return job_classes[c];
}

bool job_class_parse(struct view name, enum job_class *ret)
{
    for (unsigned i = 0; i < CLASS_COUNT; i++) {
        if (!view_eq_str(name, job_classes[i])) continue;
        *ret = (enum job_class)i;
        return true;
    }
    return false;
}

bool job_workflow_name_ok(struct view name)
{
    if (name.len == 0 || name.len >= WORKFLOW_NAME_MAX) return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!word && (i == 0 || (c != '.' && c != '_' && c != '-'))) return false;
    }
    return true;
}

/* --- the table of headers -------------------------------------------------------------------- */

enum job_header_kind {
    HEAD_V,
    HEAD_ID,
    HEAD_TEXT,
    HEAD_CLASS,
    HEAD_FP,
    HEAD_WORKFLOW,
    HEAD_NUMBER,
    HEAD_PRIORITY,
    HEAD_MESSAGE
};

struct job_header {
    const char *name;
    size_t name_len;
    enum job_header_kind kind;
    size_t offset, size; /* in struct job_head */
};

#define HEAD(name, kind, member)                                                                   \
    {                                                                                              \
        name, sizeof(name) - 1, kind, offsetof(struct job_head, member),                           \
            sizeof(((struct job_head *)0)->member)                                                 \
    }

static const struct job_header job_headers[] = {
    {"v", 1, HEAD_V, 0, 0},
    HEAD("job-id", HEAD_ID, id),
    HEAD("tenant", HEAD_TEXT, tenant),
    HEAD("class", HEAD_CLASS, cls),
    HEAD("fp", HEAD_FP, fp),
    HEAD("workflow", HEAD_WORKFLOW, workflow),
    HEAD("key", HEAD_TEXT, key),
    HEAD("priority", HEAD_PRIORITY, boost),
    HEAD("attempt", HEAD_NUMBER, attempt),
    HEAD("max-attempts", HEAD_NUMBER, max_attempts),
    HEAD("epoch", HEAD_NUMBER, epoch),
    HEAD("seq", HEAD_NUMBER, seq),
    HEAD("created-ms", HEAD_NUMBER, created_ms),
    HEAD("due-ms", HEAD_NUMBER, due_ms),
    HEAD("deadline-ms", HEAD_NUMBER, deadline_ms),
    HEAD("since", HEAD_NUMBER, since),
    HEAD("pin", HEAD_TEXT, pin),
    HEAD("min-build", HEAD_TEXT, min_build),
    HEAD("traceparent", HEAD_TEXT, traceparent),
    HEAD("origin", HEAD_TEXT, origin),
    HEAD("redrive-of", HEAD_TEXT, redrive_of),
    HEAD("err-code", HEAD_TEXT, err_code),
    HEAD("err-msg", HEAD_MESSAGE, err_msg),
};
enum { HEADER_COUNT = sizeof job_headers / sizeof *job_headers };

/* --- writing --------------------------------------------------------------------------------- */

void record_put(struct record_out *rec, const char *name, struct view value)
{
    if (!value.len) return;
    assert(rec->header_count < RECORD_HEADERS_MAX);
    rec->headers[rec->header_count++] = (struct header){view_of(name), value};
}

static struct view job_number(struct job_scratch *scratch, int64_t n)
{
    assert(scratch->used < sizeof scratch->text / sizeof *scratch->text);
    char *text = scratch->text[scratch->used++];
    return view_make(text, buf_decimal(n, text));
}

struct view job_workflow_ref(const struct job_head *h, char ret[JOB_WORKFLOW_REF])
{
    size_t len = strnlen(h->workflow, sizeof h->workflow - 1);
    memcpy(ret, h->workflow, len);
    ret[len++] = '@';
    return view_make(ret, len + buf_decimal(h->version, ret + len));
}

static struct view job_header_value(const struct job_head *h, const struct job_header *d,
                                    struct job_scratch *scratch)
{
    const void *at = (const char *)h + d->offset;
    switch (d->kind) {
    case HEAD_V:
        return job_number(scratch, JOB_V);
    case HEAD_ID:
        return view_of(h->id.text);
    case HEAD_CLASS:
        return view_of(job_class_name(h->cls));
    case HEAD_WORKFLOW:
        if (!h->workflow[0]) return VIEW_NONE;
        return job_workflow_ref(h, scratch->workflow);
    case HEAD_NUMBER: {
        int64_t n;
        memcpy(&n, at, sizeof n);
        bool present = d->offset == offsetof(struct job_head, since) ? n >= 0 : n != 0;
        return present ? job_number(scratch, n) : VIEW_NONE;
    }
    case HEAD_PRIORITY:
        return h->boost ? job_number(scratch, JOB_PRIORITY_DEFAULT + h->boost) : VIEW_NONE;
    case HEAD_TEXT:
    case HEAD_FP:
    case HEAD_MESSAGE:
        return view_of(at);
    }
    assert(!"a header of no kind");
    return VIEW_NONE;
}

void job_head_write(const struct job_head *h, struct record_out *rec, struct job_scratch *scratch)
{
    scratch->used = 0;
    rec->header_count = 0;
    rec->key = view_of(h->id.text);
    rec->partition = (int32_t)id_partition(&h->id);
    for (size_t i = 0; i < HEADER_COUNT; i++)
        record_put(rec, job_headers[i].name, job_header_value(h, &job_headers[i], scratch));
}

/* --- reading --------------------------------------------------------------------------------- */

/* The index of a name, HEADER_COUNT when it is not ours; hint: where to look first. */
static size_t job_header_find(struct view name, size_t hint)
{
    for (size_t i = 0, at = hint; i < HEADER_COUNT; i++, at++) {
        if (at >= HEADER_COUNT) at = 0;
        const struct job_header *d = &job_headers[at];
        if (name.len == d->name_len && memcmp(name.ptr, d->name, name.len) == 0) return at;
    }
    return HEADER_COUNT;
}

static bool job_is_printable(struct view v)
{
    for (size_t i = 0; i < v.len; i++)
        if (v.ptr[i] < 0x20 || v.ptr[i] > 0x7e) return false;
    return true;
}

void job_key_head(struct view key, char ret[JOB_KEY_HEAD + 1])
{
    static const char prefix[] = "sha256:";
    unsigned char hash[SHA256_BYTES];
    char hex[2 * SHA256_BYTES + 1];
    if (job_is_printable(key) && view_copy(key, ret, JOB_KEY_HEAD + 1)) return;
    hash_sha256(key, hash);
    hash_hex(hash, sizeof hash, hex);
    memcpy(ret, prefix, sizeof prefix - 1);
    memcpy(ret + sizeof prefix - 1, hex, sizeof hex);
}

static bool job_is_fp(struct view v)
{
    if (v.len != FP_HEX) return false;
    for (size_t i = 0; i < v.len; i++) {
        char c = v.ptr[i];
        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f')) return false;
    }
    return true;
}

/* name@version */
static bool job_workflow_read(struct view v, struct job_head *ret)
{
    struct view name, version;
    return view_cut(v, '@', &name, &version) && job_workflow_name_ok(name) &&
           view_copy(name, ret->workflow, sizeof ret->workflow) &&
           view_i64(version, &ret->version) && ret->version >= 0;
}

static void job_message_read(struct view v, char *dst, size_t size)
{
    size_t len = v.len < size ? v.len : size - 1;
    for (size_t i = 0; i < len; i++) dst[i] = v.ptr[i] < 0x20 || v.ptr[i] > 0x7e ? '?' : v.ptr[i];
    dst[len] = '\0';
}

static bool job_header_read(const struct job_header *d, struct view v, struct job_head *ret)
{
    void *at = (char *)ret + d->offset;
    int64_t n;
    switch (d->kind) {
    case HEAD_V:
        return true; /* job_version_check has seen it */
    case HEAD_ID:
        return id_parse(v, at);
    case HEAD_TEXT:
        return job_is_printable(v) && view_copy(v, at, d->size);
    case HEAD_CLASS:
        return job_class_parse(v, at);
    case HEAD_FP:
        return job_is_fp(v) && view_copy(v, at, d->size);
    case HEAD_WORKFLOW:
        return job_workflow_read(v, ret);
    case HEAD_NUMBER:
        if (!view_i64(v, &n) || n < 0 || n > JOB_NUMBER_MAX) return false;
        if (d->offset == offsetof(struct job_head, seq) && n > JOB_SEQ_MAX) return false;
        memcpy(at, &n, sizeof n);
        return true;
    case HEAD_PRIORITY:
        if (!view_i64(v, &n) || n < 0 || n > JOB_PRIORITY_MAX) return false;
        ret->boost = n - JOB_PRIORITY_DEFAULT;
        return true;
    case HEAD_MESSAGE:
        job_message_read(v, at, d->size);
        return true;
    }
    return false;
}

static enum err_code job_version_check(const struct record_in *rec, struct err *err)
{
    uint64_t v;
    if (!view_u64(record_header(rec, "v"), &v) || v == 0)
        return err_set(err, ERR_INVALID, "record header v: missing or not a version");
    if (v > JOB_V_MAX)
        return err_set(err, ERR_CONFLICT, "record version %llu: this program reads up to %d",
                       (unsigned long long)v, JOB_V_MAX);
    return ERR_OK;
}

enum err_code job_head_read(const struct record_in *rec, struct job_head *ret, struct err *err)
{
    enum err_code code = job_version_check(rec, err);
    if (code) return code;
    struct job_head h = {.since = -1};
    uint32_t seen = 0;
    for (size_t i = 0, hint = 0; i < rec->header_count; i++) {
        size_t at = job_header_find(rec->headers[i].name, hint);
        if (at == HEADER_COUNT) continue;
        hint = at + 1;
        if (seen & (uint32_t)1 << at)
            return err_set(err, ERR_INVALID, "record header %s: given twice", job_headers[at].name);
        seen |= (uint32_t)1 << at;
        if (!job_header_read(&job_headers[at], rec->headers[i].value, &h))
            return err_set(err, ERR_INVALID, "record header %s: unacceptable value",
                           job_headers[at].name);
    }
    if (!h.id.text[0]) return err_set(err, ERR_INVALID, "record header job-id: missing");
    if (!h.tenant[0]) return err_set(err, ERR_INVALID, "record header tenant: missing");
    *ret = h;
    return ERR_OK;
}
