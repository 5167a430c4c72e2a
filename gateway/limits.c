/* GET /v1/limits: what every budget allows, where that comes from, what the fleet used of it, and
 * what waits.
 *
 * The truth about a budget stands in Redis (schemas/fn_pace.h); which budgets there are says the
 * configuration: every route of a model with every key of its provider. They are listed when the
 * call comes, because a reload may change the configuration while Redis is asked, and shown a few
 * at a time. A budget that Redis does not know has not been used for a while: what is configured
 * holds. Figures are of the whole fleet; of tenants only the caller's own day is shown, and of a
 * credential only its name. */
#include "gateway/exchange.h"

#include "common/base/json.h"
#include "schemas/fn_pace.h"
#include "schemas/fn_usage.h"

enum {
    LIMITS_BUDGETS_MAX = 1024,
    LIMITS_WAVE = 16,
    LIMITS_BYTES_MAX = 8 << 20,
    LIMITS_NAME_MAX = 2 * CONFIG_NAME_MAX + 256
};

struct limits_budget {
    char model[CONFIG_NAME_MAX], provider[CONFIG_NAME_MAX], key[CONFIG_NAME_MAX];
    char provider_model[128];
    struct config_budget configured;
    struct pace_view view;
};

struct limits_state {            /* x->own */
    char model[CONFIG_NAME_MAX]; /* "" = all */
    struct limits_budget *budgets;
    size_t count, asked, answered;
    bool has_more, is_failed;
    int64_t tokens, microusd, unfinished; /* of the caller's tenant: today; jobs without an end */
    struct buf out;
};

static void limits_free(void *own)
{
    struct limits_state *l = own;
    buf_fini(&l->out);
    free(l->budgets);
    free(l);
}

/* --- the answer ---------------------------------------------------------------------------------
 */

static void limits_put_positive(struct jw *w, const char *name, int64_t n)
{
    jw_key(w, name);
    if (n > 0)
        jw_int(w, n);
    else
        jw_null(w);
}

static void limits_put_known(struct jw *w, const char *name, int64_t n)
{
    jw_key(w, name);
    if (n >= 0)
        jw_int(w, n);
    else
        jw_null(w);
}

static const char *limits_source(const struct pace_view_dim *d)
{
    if (d->limit <= 0) return NULL;
    if (d->limit == d->configured) return "configured";
    if (d->limit == d->told) return "told";
    return "learnt";
}

static void limits_put_dim(struct jw *w, const char *name, const struct pace_view_dim *d)
{
    jw_key(w, name);
    jw_object(w);
    limits_put_positive(w, "limit", d->limit);
    jw_kstr(w, "source", view_of(limits_source(d)));
    limits_put_positive(w, "configured", d->configured);
    limits_put_positive(w, "told", d->told);
    limits_put_positive(w, "learnt", d->learnt);
    jw_kint(w, "used", d->used > 0 ? d->used : 0);
    jw_kint(w, "foreign", d->foreign > 0 ? d->foreign : 0);
    limits_put_known(w, "available", d->available);
    limits_put_known(w, "next_ms", d->next_ms);
    jw_end_object(w);
}

static void limits_put_pair(struct jw *w, const char *name, int64_t limit, int64_t used)
{
    jw_key(w, name);
    jw_object(w);
    limits_put_positive(w, "limit", limit);
    jw_kint(w, "used", used > 0 ? used : 0);
    jw_end_object(w);
}

static void limits_put_dollars(struct jw *w, const char *name, int64_t limit, int64_t used)
{
    jw_key(w, name);
    jw_object(w);
    jw_key(w, "limit");
    if (limit > 0)
        jw_real(w, (double)limit / 1e6);
    else
        jw_null(w);
    jw_key(w, "used");
    jw_real(w, (double)used / 1e6);
    jw_end_object(w);
}

static void limits_put_state(struct jw *w, const struct pace_view *v, int64_t wall_ms)
{
    static const char *const states[] = {[PACE_OPEN] = "open",
                                         [PACE_CLOSED] = "closed",
                                         [PACE_PROBING] = "probe",
                                         [PACE_RAMPING] = "ramp"};
    static const char *const closes[] = {[PACE_CLOSE_NONE] = NULL,
                                         [PACE_CLOSE_THROTTLE] = "throttle",
                                         [PACE_CLOSE_OUTAGE] = "outage",
                                         [PACE_CLOSE_EXHAUSTED] = "exhausted"};
    jw_kcstr(w, "state", states[v->state]);
    jw_kstr(w, "reason", view_of(closes[v->close]));
    limits_put_positive(w, "until", v->until_ms > 0 ? wall_ms + v->until_ms : 0);
    jw_key(w, "ramp");
    if (v->state == PACE_RAMPING)
        jw_real(w, (double)v->share_permille / 1000);
    else
        jw_null(w);
}

static void limits_put_budget(struct jw *w, const struct limits_budget *b, int64_t wall_ms)
{
    const struct pace_view *v = &b->view;
    jw_object(w);
    jw_kcstr(w, "provider", b->provider);
    jw_kcstr(w, "model", b->provider_model);
    jw_kcstr(w, "key", b->key);
    limits_put_state(w, v, wall_ms);
    limits_put_dim(w, "requests", &v->dims[PACE_REQUESTS]);
    limits_put_dim(w, "input_tokens", &v->dims[PACE_INPUT]);
    limits_put_dim(w, "output_tokens", &v->dims[PACE_OUTPUT]);
    limits_put_dim(w, "tokens", &v->dims[PACE_TOKENS]);
    limits_put_pair(w, "requests_per_day", v->requests_per_day, v->requests_today);
    limits_put_dollars(w, "spend_per_day", v->spend_per_day_microusd, v->microusd_today);
    limits_put_pair(w, "concurrency", v->concurrency, v->in_flight);
    jw_kint(w, "waiters", v->waiters);
    jw_kint(w, "workers", v->workers);
    jw_kint(w, "refusals", v->refusals);
    jw_kint(w, "closes", v->closes);
    jw_kint(w, "fails", v->fails);
    jw_end_object(w);
}

static void limits_put_tenant(struct jw *w, const struct exchange *x)
{
    const struct limits_state *l = x->own;
    const struct config_tenant *t = config_tenant_find(x->s->current, view_of(x->who.tenant));
    jw_key(w, "tenant");
    jw_object(w);
    jw_kcstr(w, "id", x->who.tenant);
    jw_kint(w, "unfinished_jobs", l->unfinished > 0 ? l->unfinished : 0);
    limits_put_pair(w, "tokens_per_day", t ? t->tokens_per_day : 0, l->tokens);
    limits_put_dollars(w, "spend_per_day", t ? t->spend_per_day_microusd : 0, l->microusd);
    jw_end_object(w);
}

static void limits_put(struct exchange *x)
{
    struct limits_state *l = x->own;
    struct jw w;
    int64_t wall_ms = x->s->clock->wall_ms;
    jw_init(&w, &l->out);
    jw_object(&w);
    jw_ktime(&w, "at", wall_ms);
    jw_key(&w, "data");
    jw_array(&w);
    for (size_t i = 0; i < l->count; i++) {
        const struct limits_budget *b = &l->budgets[i];
        bool is_first = i == 0 || strcmp(b->model, b[-1].model) != 0;
        bool is_last = i + 1 == l->count || strcmp(b->model, b[1].model) != 0;
        if (is_first) {
            jw_object(&w);
            jw_kcstr(&w, "model", b->model);
            jw_key(&w, "route");
            jw_array(&w);
        }
        limits_put_budget(&w, b, wall_ms);
        if (!is_last) continue;
        jw_end_array(&w);
        jw_end_object(&w);
    }
    jw_end_array(&w);
    limits_put_tenant(&w, x);
    jw_kbool(&w, "has_more", l->has_more);
    jw_end_object(&w);
}

static void limits_answer(struct exchange *x)
{
    struct limits_state *l = x->own;
    struct answer a = {.status = 200};
    limits_put(x);
    a.body = buf_view(&l->out);
    a.headers[a.header_count++] = (struct httpd_header_out){"Cache-Control", "no-store"};
    if (l->out.failed)
        exchange_refuse(x, PROBLEM_INTERNAL, "the limits do not fit an answer");
    else
        exchange_answer(x, &a);
}

/* --- asking Redis -------------------------------------------------------------------------------
 */

static void limits_ask_wave(struct exchange *x);

/* What holds of a budget that nobody has used for a while. */
static void limits_take_configured(struct limits_budget *b)
{
    const struct config_budget *c = &b->configured;
    const int64_t limits[PACE_DIM_COUNT] = {
        [PACE_REQUESTS] = c->requests_per_minute,
        [PACE_INPUT] = c->input_tokens_per_minute,
        [PACE_OUTPUT] = c->output_tokens_per_minute,
        [PACE_TOKENS] = c->tokens_per_minute,
    };
    b->view = (struct pace_view){.state = PACE_OPEN,
                                 .close = PACE_CLOSE_NONE,
                                 .requests_per_day = c->requests_per_day,
                                 .concurrency = c->concurrency,
                                 .spend_per_day_microusd = c->spend_per_day_microusd};
    for (size_t d = 0; d < PACE_DIM_COUNT; d++)
        b->view.dims[d] = (struct pace_view_dim){
            .limit = limits[d], .configured = limits[d], .available = -1, .next_ms = -1};
}

static void limits_viewed(void *arg, const struct err *e, const struct pace_view *v)
{
    struct exchange *x = arg;
    if (!exchange_held(x)) return;
    struct limits_state *l = x->own;
    struct limits_budget *b = &l->budgets[l->answered++]; /* answers come in order */
    if (e)
        l->is_failed = true;
    else if (v->is_found)
        b->view = *v;
    if (l->answered < l->asked) return;
    if (l->is_failed)
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "Redis, which budgets are kept in, is away");
    else if (l->asked < l->count)
        limits_ask_wave(x);
    else
        limits_answer(x);
}

static void limits_ask(struct exchange *x, struct limits_budget *b)
{
    char name[LIMITS_NAME_MAX];
    int n = snprintf(name, sizeof name, "%s/%s/%s", b->provider, b->provider_model, b->key);
    limits_take_configured(b);
    exchange_hold(x);
    fn_pace_view(x->s->fn, view_make(name, (size_t)n), limits_viewed, x);
}

static void limits_ask_wave(struct exchange *x)
{
    struct limits_state *l = x->own;
    size_t from = l->asked;
    if (l->count == 0) {
        limits_answer(x);
        return;
    }
    l->asked = l->count - from < LIMITS_WAVE ? l->count : from + LIMITS_WAVE;
    for (size_t i = from, to = l->asked; i < to; i++) limits_ask(x, &l->budgets[i]);
}

static void limits_told_day(void *arg, const struct reply *r, const struct err *e)
{
    struct exchange *x = arg;
    struct fn_usage_counts c;
    if (!exchange_held(x)) return;
    struct limits_state *l = x->own;
    if (e || r->kind != REPLY_ARRAY) {
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "Redis, which budgets are kept in, is away");
        return;
    }
    if (fn_usage_read_counts(reply_str(reply_at(r, 0)), &c)) {
        l->tokens = c.input + c.output;
        l->microusd = c.microusd;
    }
    limits_ask_wave(x);
}

/* Its answer comes before that about the day, which goes on. */
static void limits_told_jobs(void *arg, const struct reply *r, const struct err *e)
{
    struct exchange *x = arg;
    if (!exchange_held(x)) return;
    if (!e) ((struct limits_state *)x->own)->unfinished = reply_int(r, 0);
}

static void limits_ask_tenant(struct exchange *x)
{
    char key[FN_USAGE_KEY_MAX], count[FN_KEY_MAX];
    const struct view jobs[] = {VIEW_LIT("GET"),
                                fn_key(FN_KEY_COUNT, view_of(x->who.tenant), count)};
    const struct view argv[] = {
        VIEW_LIT("HMGET"),
        fn_usage_key(view_of(x->who.tenant), x->s->clock->wall_ms / CLOCK_DAY_MS, key),
        VIEW_LIT("t")};
    exchange_hold(x);
    x->s->reads.call(x->s->reads.self, jobs, 2, limits_told_jobs, x);
    exchange_hold(x);
    x->s->reads.call(x->s->reads.self, argv, 3, limits_told_day, x);
}

/* --- which budgets ------------------------------------------------------------------------------
 */

static void limits_add(struct limits_state *l, const struct config_model *m,
                       const struct config_route *r, const char *key)
{
    if (l->count == LIMITS_BUDGETS_MAX) {
        l->has_more = true;
        return;
    }
    struct limits_budget *b = &l->budgets[l->count++];
    b->configured = r->budget;
    (void)view_copy(view_of(m->name), b->model, sizeof b->model);
    (void)view_copy(view_of(r->provider), b->provider, sizeof b->provider);
    (void)view_copy(view_of(r->model), b->provider_model, sizeof b->provider_model);
    (void)view_copy(view_of(key), b->key, sizeof b->key);
}

static void limits_add_route(struct limits_state *l, const struct config *c,
                             const struct config_model *m, const struct config_route *r)
{
    const struct config_provider *p = config_provider_find(c, view_of(r->provider));
    size_t keys = p ? p->key_count : 0;
    for (size_t k = 0; k < keys; k++) limits_add(l, m, r, p->keys[k].name);
    if (keys == 0) limits_add(l, m, r, "default");
}

static bool limits_list(struct limits_state *l, const struct config *c)
{
    l->budgets = calloc(LIMITS_BUDGETS_MAX, sizeof *l->budgets);
    if (!l->budgets) return false;
    for (size_t m = 0; m < c->model_count; m++) {
        if (l->model[0] && strcmp(l->model, c->models[m].name) != 0) continue;
        for (size_t r = 0; r < c->models[m].route_count; r++)
            limits_add_route(l, c, &c->models[m], &c->models[m].routes[r]);
    }
    return true;
}

/* --- the request --------------------------------------------------------------------------------
 */

static bool limits_read_model(struct exchange *x, struct limits_state *l)
{
    if (!exchange_has_query(x, "model")) return true;
    return httpd_query(x->r, "model", l->model, sizeof l->model) &&
           config_model_find(x->s->current, view_of(l->model));
}

void limits_get(struct exchange *x)
{
    struct limits_state *l = calloc(1, sizeof *l);
    if (!l) {
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "out of memory");
        return;
    }
    x->own = l;
    x->own_free = limits_free;
    buf_init(&l->out, LIMITS_BYTES_MAX);
    if (!limits_read_model(x, l)) {
        const struct problem_body b = {.kind = PROBLEM_INVALID_REQUEST,
                                       .param = "model",
                                       .detail = "model: no model of that name is configured"};
        exchange_problem(x, &b, 0);
    } else if (!limits_list(l, x->s->current)) {
        exchange_refuse(x, PROBLEM_UNAVAILABLE, "out of memory");
    } else {
        limits_ask_tenant(x);
    }
}
