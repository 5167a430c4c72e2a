/* GET of a job that is queued, with a guess of what it waits for (line.h). The job was folded and
 * written already; what the guess needs is asked of Redis in one go: the budget that the workflow's
 * first call would use, how many jobs of the tenant have no end yet, and how many came after this
 * one. Whatever cannot be had, the job is answered without a guess. */
#include "gateway/exchange.h"
#include "gateway/line.h"

#include "common/base/json.h"

enum {
    QUEUED_YOUNG_MS = 500, /* it is on its way */
    QUEUED_BODY_MAX = 1 << 20,
    QUEUED_ASKS = 3,
    QUEUED_NAME_MAX = 2 * CONFIG_NAME_MAX + 256
};

struct queued_state { /* x->own */
    struct buf body;
    char on[CONFIG_NAME_MAX + 136];
    struct pace_view budget;
    int64_t unended, later;
    unsigned asked;
};

static void queued_free(void *own)
{
    struct queued_state *q = own;
    buf_fini(&q->body);
    free(q);
}

/* --- the answer ---------------------------------------------------------------------------------
 */

/* Puts a member behind the last one of the job. */
static void queued_put(struct queued_state *q, const struct line_guess *g, int64_t wall_ms)
{
    struct buf member;
    struct jw w;
    buf_init(&member, 1024);
    jw_init(&w, &member);
    jw_object(&w);
    jw_kcstr(&w, "reason", g->reason);
    jw_kcstr(&w, "on", q->on);
    jw_key(&w, "until");
    if (g->in_ms >= 0)
        jw_int(&w, wall_ms + g->in_ms);
    else
        jw_null(&w);
    jw_end_object(&w);
    if (!member.failed && q->body.len > 0 && q->body.data[q->body.len - 1] == '}') {
        q->body.len--;
        buf_put_str(&q->body, ",\"waiting\":");
        buf_put_view(&q->body, buf_view(&member));
        buf_put_char(&q->body, '}');
    }
    buf_fini(&member);
}

static void queued_answer(struct exchange *x)
{
    struct queued_state *q = x->own;
    struct line_guess g;
    const struct line_facts facts = {.budget = &q->budget, .ahead = q->unended - q->later - 1};
    if (line_guess(&facts, &g)) queued_put(q, &g, x->s->clock->wall_ms);
    if (q->body.failed)
        exchange_refuse(x, PROBLEM_INTERNAL, "the job does not fit an answer");
    else
        get_answer_body(x, buf_view(&q->body));
}

/* --- asking -------------------------------------------------------------------------------------
 */

static void queued_one_less(struct exchange *x)
{
    struct queued_state *q = x->own;
    if (--q->asked == 0) queued_answer(x);
}

static void queued_viewed(void *arg, const struct err *e, const struct pace_view *v)
{
    struct exchange *x = arg;
    if (!exchange_held(x)) return;
    if (!e) ((struct queued_state *)x->own)->budget = *v;
    queued_one_less(x);
}

static void queued_counted(void *arg, const struct reply *r, const struct err *e)
{
    struct exchange *x = arg;
    if (!exchange_held(x)) return;
    if (!e) ((struct queued_state *)x->own)->unended = reply_int(r, 0);
    queued_one_less(x);
}

static void queued_counted_later(void *arg, const struct reply *r, const struct err *e)
{
    struct exchange *x = arg;
    if (!exchange_held(x)) return;
    if (!e) ((struct queued_state *)x->own)->later = reply_int(r, 0);
    queued_one_less(x);
}

static void queued_ask(struct exchange *x, const char *budget, int64_t created_ms)
{
    struct queued_state *q = x->own;
    struct redis_port *reads = &x->s->reads;
    char count[FN_KEY_MAX], index[FN_KEY_MAX], after[32];
    const struct view tenant = view_of(x->who.tenant);
    snprintf(after, sizeof after, "(%lld", (long long)created_ms);
    const struct view unended[] = {VIEW_LIT("GET"), fn_key(FN_KEY_COUNT, tenant, count)};
    const struct view later[] = {VIEW_LIT("ZCOUNT"), fn_key(FN_KEY_INDEX, tenant, index),
                                 view_of(after), VIEW_LIT("+inf")};
    q->asked = QUEUED_ASKS;
    for (unsigned i = 0; i < QUEUED_ASKS; i++) exchange_hold(x);
    fn_pace_view(x->s->fn, view_of(budget), queued_viewed, x);
    reads->call(reads->self, unended, 2, queued_counted, x);
    reads->call(reads->self, later, 4, queued_counted_later, x);
}

/* --- which budget -------------------------------------------------------------------------------
 */

/* The route that the first call of a workflow would take; NULL: it makes none that we know of. */
static const struct config_route *queued_route(const struct service *s, struct view name,
                                               int64_t version)
{
    const struct workflow *f = workflows_find(s->workflows, name, version);
    for (size_t i = 0; f && i < f->step_count; i++) {
        if (f->steps[i].kind != STEP_LLM) continue;
        const struct config_model *m = config_model_find(s->current, view_of(f->steps[i].model));
        return m && m->route_count > 0 ? &m->routes[0] : NULL;
    }
    return NULL;
}

static bool queued_read(struct view body, char *workflow, int64_t *ret_version,
                        int64_t *ret_created_ms)
{
    struct view name, version, created;
    return json_raw_member(body, VIEW_LIT("workflow"), &name) && name.len > 2 &&
           view_copy(view_make(name.ptr + 1, name.len - 2), workflow, WORKFLOW_NAME_MAX) &&
           json_raw_member(body, VIEW_LIT("version"), &version) && view_i64(version, ret_version) &&
           json_raw_member(body, VIEW_LIT("created_at"), &created) && created.len > 2 &&
           clock_parse(view_make(created.ptr + 1, created.len - 2), ret_created_ms);
}

bool queued_guess(struct exchange *x, struct view body)
{
    char workflow[WORKFLOW_NAME_MAX], budget[QUEUED_NAME_MAX];
    int64_t version, created_ms;
    if (!queued_read(body, workflow, &version, &created_ms)) return false;
    if (x->s->clock->wall_ms - created_ms < QUEUED_YOUNG_MS) return false;
    const struct config_route *r = queued_route(x->s, view_of(workflow), version);
    const struct config_provider *p =
        r ? config_provider_find(x->s->current, view_of(r->provider)) : NULL;
    struct queued_state *q = p ? calloc(1, sizeof *q) : NULL;
    if (!q) return false;
    x->own = q;
    x->own_free = queued_free;
    buf_init(&q->body, QUEUED_BODY_MAX);
    buf_put_view(&q->body, body);
    snprintf(q->on, sizeof q->on, "%s/%s", r->provider, r->model);
    snprintf(budget, sizeof budget, "%s/%s", q->on, p->key_count ? p->keys[0].name : "default");
    queued_ask(x, budget, created_ms);
    return true;
}
