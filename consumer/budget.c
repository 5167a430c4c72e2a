/* One line of waiters a model and one question to Redis under way for its first waiter: with a
 * round trip of 0.2 ms this grants thousands a second, and a refusal stops the whole line with a
 * single timer, so a closed budget costs one question per wait, not one per waiter. A model without
 * limits is granted here and now. Lines take turns at the process's ceiling. */
#include "consumer/budget.h"

#include "common/base/clock.h"
#include <assert.h>

enum {
    BUDGET_TELL_MS = 1000,
    BUDGET_AWAY_MS = 500,
    BUDGET_WAIT_MIN_MS = 5,
    BUDGET_WAIT_MAX_MS = 60000
};

struct budget_model {
    struct budget *budget;
    const struct config_model *config;
    struct list waiters;
    struct timer timer; /* closed, or Redis is away: not before */
    int64_t closed_ms;  /* monotonic */
    bool is_asking;
    bool is_asker_gone; /* the waiter that was asked for left meanwhile */
    int64_t asked_tokens;
};

struct budget {
    struct budget_options o;
    struct budget_model *models;
    size_t count, next;
    size_t in_flight, waiting;
};

struct budget *budget_new(const struct budget_options *o)
{
    struct budget *b = calloc(1, sizeof *b);
    if (!b) return NULL;
    b->o = *o;
    b->count = o->config->model_count;
    b->models = calloc(b->count ? b->count : 1, sizeof *b->models);
    if (!b->models) {
        free(b);
        return NULL;
    }
    for (size_t i = 0; i < b->count; i++) {
        b->models[i].budget = b;
        b->models[i].config = &o->config->models[i];
        list_init(&b->models[i].waiters);
    }
    return b;
}

void budget_free(struct budget *b)
{
    if (!b) return;
    for (size_t i = 0; i < b->count; i++) timerq_cancel(b->o.timers, &b->models[i].timer);
    free(b->models);
    free(b);
}

static struct budget_model *budget_find(struct budget *b, struct view name)
{
    for (size_t i = 0; i < b->count; i++)
        if (view_eq_str(name, b->models[i].config->name)) return &b->models[i];
    return NULL;
}

bool budget_ask(struct budget *b, struct budget_wait *w, struct view model, int64_t tokens)
{
    struct budget_model *m = budget_find(b, model);
    if (!m) return false;
    assert(!list_linked(&w->link) && !w->is_granted);
    w->model = m;
    w->tokens = tokens;
    w->is_told = false;
    list_push(&m->waiters, &w->link);
    b->waiting++;
    return true;
}

void budget_cancel(struct budget *b, struct budget_wait *w)
{
    assert(!w->is_granted);
    if (!list_linked(&w->link)) return;
    if (w->model->is_asking && list_first(&w->model->waiters) == &w->link)
        w->model->is_asker_gone = true;
    list_remove(&w->model->waiters, &w->link);
    b->waiting--;
}

static bool budget_is_limited(const struct config_budget *c)
{
    return c->requests_per_minute || c->input_tokens_per_minute || c->output_tokens_per_minute ||
           c->tokens_per_minute;
}

/* One combined bucket of tokens in this form: the sum where input and output are given apart. */
static int64_t budget_tokens_limit(const struct config_budget *c)
{
    if (c->tokens_per_minute) return c->tokens_per_minute;
    return c->input_tokens_per_minute + c->output_tokens_per_minute;
}

static void budget_grant(struct budget_model *m)
{
    struct budget_wait *w = LIST_ITEM(list_first(&m->waiters), struct budget_wait, link);
    list_remove(&m->waiters, &w->link);
    m->budget->waiting--;
    m->budget->in_flight++;
    w->is_granted = true;
    w->on_grant(w->arg);
}

static void budget_ignore(void *arg, const struct err *e, struct view verdict)
{
    (void)arg, (void)e, (void)verdict;
}

static void budget_on_timer(void *arg)
{
    struct budget_model *m = arg;
    budget_pump(m->budget);
}

static void budget_close_for(struct budget_model *m, int64_t ms, bool tell)
{
    const struct clock *clock = m->budget->o.clock;
    if (ms < BUDGET_WAIT_MIN_MS) ms = BUDGET_WAIT_MIN_MS;
    if (clock->mono_ms + ms > m->closed_ms) m->closed_ms = clock->mono_ms + ms;
    (void)timerq_set(m->budget->o.timers, &m->timer, m->closed_ms, budget_on_timer, m);
    if (!tell || m->closed_ms - clock->mono_ms <= BUDGET_TELL_MS) return;
    int64_t until = clock->wall_ms + (m->closed_ms - clock->mono_ms);
    for (struct list_link *k = list_first(&m->waiters), *next; k; k = next) {
        struct budget_wait *w = LIST_ITEM(k, struct budget_wait, link);
        next = list_next(&m->waiters, k);
        if (w->is_told) continue;
        w->is_told = true;
        w->on_wait(w->arg, until);
    }
}

static void budget_on_take(void *arg, const struct err *e, const struct fn_taken *t)
{
    struct budget_model *m = arg;
    struct budget *b = m->budget;
    bool is_gone = m->is_asker_gone;
    m->is_asking = m->is_asker_gone = false;
    if (e) {
        budget_close_for(m, BUDGET_AWAY_MS, false);
        return;
    }
    if (!t->granted) {
        budget_close_for(m, t->wait_ms > BUDGET_WAIT_MAX_MS ? BUDGET_WAIT_MAX_MS : t->wait_ms,
                         true);
        return;
    }
    if (is_gone ||
        !b->o.may_start(b->o.arg)) { /* the answer may have waited for a process that stood still */
        fn_settle(b->o.fn, view_of(m->config->name), -m->asked_tokens, true, 0, budget_ignore,
                  NULL);
    } else {
        budget_grant(m);
    }
    budget_pump(b);
}

/* True: one was granted here, there may be more. */
static bool budget_pump_model(struct budget_model *m)
{
    struct budget *b = m->budget;
    const struct config_budget *c = &m->config->budget;
    if (!m->waiters.count || m->is_asking || b->o.clock->mono_ms < m->closed_ms) return false;
    if (!budget_is_limited(c)) {
        budget_grant(m);
        return true;
    }
    struct budget_wait *w = LIST_ITEM(list_first(&m->waiters), struct budget_wait, link);
    int64_t limit = budget_tokens_limit(c);
    struct fn_take take = {.name = view_of(m->config->name),
                           .requests_per_minute = c->requests_per_minute,
                           .tokens_per_minute = limit,
                           .tokens = limit && w->tokens > limit ? limit : w->tokens};
    m->is_asking = true;
    m->asked_tokens = take.tokens;
    w->tokens = take.tokens; /* what was reserved is what is settled */
    fn_take(b->o.fn, &take, budget_on_take, m);
    return false;
}

void budget_pump(struct budget *b)
{
    size_t idle = 0;
    while (b->waiting && idle < b->count && b->in_flight < b->o.calls_max &&
           b->o.may_start(b->o.arg)) {
        struct budget_model *m = &b->models[b->next];
        b->next = (b->next + 1) % b->count;
        idle = budget_pump_model(m) ? 0 : idle + 1;
    }
}

void budget_done(struct budget *b, struct budget_wait *w, const struct budget_outcome *outcome)
{
    struct budget_model *m = w->model;
    assert(w->is_granted && b->in_flight > 0);
    w->is_granted = false;
    b->in_flight--;
    if (outcome->closed_for_ms > 0) budget_close_for(m, outcome->closed_for_ms, true);
    if (!budget_is_limited(&m->config->budget) && outcome->closed_for_ms <= 0) return;
    int64_t delta = outcome->was_refused        ? -w->tokens
                    : outcome->used_tokens >= 0 ? outcome->used_tokens - w->tokens
                                                : 0;
    if (!delta && !outcome->was_refused && outcome->closed_for_ms <= 0) return;
    fn_settle(b->o.fn, view_of(m->config->name), delta, outcome->was_refused,
              outcome->closed_for_ms > 0 ? outcome->closed_for_ms : 0, budget_ignore, NULL);
}

const struct config_model *budget_model_config(const struct budget_wait *w)
{
    return w->model->config;
}

size_t budget_in_flight(const struct budget *b)
{
    return b->in_flight;
}

size_t budget_waiting(const struct budget *b)
{
    return b->waiting;
}
