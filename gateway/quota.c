/* Quotas without a question per job.
 *
 * What is hard: the count lives in Redis and changes in other processes, yet an accepted job may
 * cost no extra round trip. Every admit brings the count back, so a busy tenant's is always fresh;
 * only a tenant that seems to be over its limit by a count that has grown old is worth a question.
 * An unanswered question (Redis away) refuses nobody. */
#include "gateway/quota.h"

#include "common/base/list.h"
#include "common/base/map.h"
#include "schemas/config.h"
#include "schemas/fn.h"
#include <assert.h>

enum { QUOTA_TENANTS_MAX = 1 << 17 };

struct quota_tenant {
    int64_t queued, at_ms; /* what Redis said, and when (monotonic) */
    int64_t under_way;
};

struct quota {
    struct redis_port redis;
    const struct clock *clock;
    struct map *tenants;
};

struct quota_question {
    struct quota *quota;
    void (*done)(void *arg);
    void *arg;
    char tenant[CONFIG_NAME_MAX];
};

struct quota *quota_new(struct redis_port redis, const struct clock *clock)
{
    struct quota *q = calloc(1, sizeof *q);
    if (!q) return NULL;
    *q = (struct quota){.redis = redis, .clock = clock, .tenants = map_new(QUOTA_TENANTS_MAX)};
    if (q->tenants) return q;
    free(q);
    return NULL;
}

void quota_free(struct quota *q)
{
    struct view key;
    void *value;
    size_t cursor = 0;
    if (!q) return;
    while (map_each(q->tenants, &cursor, &key, &value)) free(value);
    map_free(q->tenants);
    free(q);
}

static struct quota_tenant *quota_tenant(struct quota *q, struct view tenant)
{
    struct quota_tenant *t = map_get(q->tenants, tenant);
    if (t) return t;
    t = calloc(1, sizeof *t);
    if (!t || !map_put(q->tenants, tenant, t)) {
        free(t);
        return NULL;
    }
    t->at_ms = INT64_MIN / 2;
    return t;
}

enum quota_verdict quota_take(struct quota *q, struct view tenant, int64_t max_queued)
{
    struct quota_tenant *t = quota_tenant(q, tenant);
    if (!t) return QUOTA_OK; /* no memory for counting: a limit is not worth a refusal */
    if (max_queued <= 0 || t->queued + t->under_way < max_queued) {
        t->under_way++;
        return QUOTA_OK;
    }
    return q->clock->mono_ms - t->at_ms <= QUOTA_FRESH_MS ? QUOTA_OVER : QUOTA_ASK;
}

static void quota_learn(struct quota *q, struct quota_tenant *t, int64_t queued)
{
    t->queued = queued > 0 ? queued : 0;
    t->at_ms = q->clock->mono_ms;
}

static void quota_answered(void *arg, const struct reply *r, const struct err *e)
{
    struct quota_question *ask = arg;
    struct quota_tenant *t = quota_tenant(ask->quota, view_of(ask->tenant));
    bool is_known = !e && r->kind != REPLY_ERROR;
    if (t) quota_learn(ask->quota, t, is_known ? reply_int(r, 0) : 0);
    ask->done(ask->arg);
    free(ask);
}

bool quota_ask(struct quota *q, struct view tenant, void (*done)(void *arg), void *arg)
{
    char key[FN_KEY_MAX];
    struct quota_question *ask = calloc(1, sizeof *ask);
    assert(tenant.len < CONFIG_NAME_MAX);
    if (!ask) {
        struct quota_tenant *t = quota_tenant(q, tenant);
        if (t) quota_learn(q, t, 0);
        return false;
    }
    *ask = (struct quota_question){.quota = q, .done = done, .arg = arg};
    memcpy(ask->tenant, tenant.ptr, tenant.len);
    struct view argv[] = {VIEW_LIT("GET"), fn_key(FN_KEY_COUNT, tenant, key)};
    q->redis.call(q->redis.self, argv, 2, quota_answered, ask);
    return true;
}

void quota_settle(struct quota *q, struct view tenant, int64_t queued)
{
    struct quota_tenant *t = quota_tenant(q, tenant);
    if (!t) return;
    if (t->under_way > 0) t->under_way--;
    if (queued >= 0) quota_learn(q, t, queued);
}
