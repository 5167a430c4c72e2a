/* Hard: a reservation that is too small breaks a limit, one that is too large wastes it, and the
 * first call of a step knows nothing. Chosen: of every (workflow, step, model) three moving means
 * with their variance, so that whoever adds many calls up may add their variances and keep a margin
 * for the sum, which is far smaller than the sum of margins:
 *
 *   input    as a factor on what was counted (a tokenizer differs from our count by a factor that
 *            is steady for one kind of text)
 *   output   in tokens
 *   duration in ms
 *
 * The mean moves by 1/n at first and by a fiftieth later on: calls under way share it, so what it
 * is off by adds up over all of them, and nobody's margin is for that. A second one moves by a
 * tenth: where it leaves the first by more than chance would, the prompt has changed, and the first
 * begins anew from there, within some ten calls. What few calls have said is given the spread of a
 * guess, shrinking with n. The first call of a step reserves its whole max_tokens: that is never
 * too little, and wrong only until the first replies are there. */
#include "consumer/estimate.h"

#include "common/base/list.h"
#include "common/base/map.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    ESTIMATE_KEY_MAX = 256,
    ESTIMATE_TOKENS_MAX = 100000000, /* of a call; more is nonsense */
    ESTIMATE_OUTPUT_FIRST = 512,     /* where no max_tokens is given */
    ESTIMATE_FIRST_MS = 2000,
    ESTIMATE_ANEW = 4, /* calls that a mean which begins anew stands for */
    ESTIMATE_MS_MAX = 3600000
};
static const double estimate_alpha = 0.02;
static const double estimate_alpha_fast = 0.1;
static const double estimate_strays = 0.84;   /* 4 deviations of the fast mean, squared, by var */
static const double estimate_var_max = 1e14;  /* so many tokens, squared, are no guess any more */
static const double estimate_spread = 0.3;    /* of a guess, as a share of it */
static const double estimate_factor_max = 64; /* a count further off is no count */

struct estimate_mean {
    double mean, var, fast;
    int64_t n;
};

struct estimate_entry {
    struct list_link link; /* the least used first */
    struct estimate_mean factor, output, ms;
    size_t key_len;
    char key[ESTIMATE_KEY_MAX];
};

struct estimate {
    struct map *entries;
    struct list order;
    size_t max;
};

struct estimate *estimate_new(size_t entries_max)
{
    struct estimate *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    list_init(&e->order);
    e->max = entries_max;
    e->entries = map_new(entries_max);
    if (!e->entries) {
        free(e);
        return NULL;
    }
    return e;
}

void estimate_free(struct estimate *e)
{
    struct list_link *k;
    if (!e) return;
    while ((k = list_first(&e->order)) != NULL) {
        list_remove(&e->order, k);
        free(LIST_ITEM(k, struct estimate_entry, link));
    }
    map_free(e->entries);
    free(e);
}

size_t estimate_count(const struct estimate *e)
{
    return e->order.count;
}

/* --- entries --------------------------------------------------------------------------------- */
static struct view estimate_key_text(const struct estimate_key *k, char ret[ESTIMATE_KEY_MAX])
{
    int n = snprintf(ret, ESTIMATE_KEY_MAX, "%.*s/%.*s/%.*s", (int)k->workflow.len, k->workflow.ptr,
                     (int)k->step.len, k->step.ptr, (int)k->model.len, k->model.ptr);
    return view_make(ret, n < ESTIMATE_KEY_MAX ? (size_t)n : ESTIMATE_KEY_MAX - 1);
}

static struct estimate_entry *estimate_find(struct estimate *e, struct view key)
{
    struct estimate_entry *it = map_get(e->entries, key);
    if (!it) return NULL;
    list_remove(&e->order, &it->link);
    list_push(&e->order, &it->link);
    return it;
}

static struct estimate_entry *estimate_make(struct estimate *e, struct view key)
{
    struct estimate_entry *it;
    if (e->order.count >= e->max && list_first(&e->order)) {
        it = LIST_ITEM(list_first(&e->order), struct estimate_entry, link);
        list_remove(&e->order, &it->link);
        (void)map_remove(e->entries, view_make(it->key, it->key_len));
        free(it);
    }
    it = calloc(1, sizeof *it);
    if (!it) return NULL;
    memcpy(it->key, key.ptr, key.len);
    it->key_len = key.len;
    if (!map_put(e->entries, key, it)) {
        free(it);
        return NULL;
    }
    list_push(&e->order, &it->link);
    return it;
}

/* --- numbers --------------------------------------------------------------------------------- */
static void estimate_move(struct estimate_mean *m, double x)
{
    double alpha = 1.0 / (double)++m->n, off = x - m->mean;
    m->fast += fmax(alpha, estimate_alpha_fast) * (x - m->fast);
    alpha = fmax(alpha, estimate_alpha);
    m->mean += alpha * off;
    m->var = (1 - alpha) * (m->var + alpha * off * off);
    off = m->fast - m->mean;
    if (m->n < 4 * ESTIMATE_ANEW || off * off <= estimate_strays * m->var) return;
    m->mean = m->fast;
    m->n = ESTIMATE_ANEW;
}

/* What was seen, and the doubt about a mean of few. */
static double estimate_var(const struct estimate_mean *m)
{
    double doubt = estimate_spread * m->mean;
    return m->var + doubt * doubt / (double)(m->n ? m->n : 1);
}

static int64_t estimate_tokens(double x)
{
    return x < 0 ? 0 : x > ESTIMATE_TOKENS_MAX ? ESTIMATE_TOKENS_MAX : (int64_t)(x + 0.5);
}

static void estimate_expect_output(const struct estimate_entry *it, int64_t max_tokens,
                                   struct estimate_guess *ret)
{
    if (!it || !it->output.n) {
        double first = ESTIMATE_OUTPUT_FIRST * estimate_spread;
        ret->output = max_tokens > 0 ? max_tokens : ESTIMATE_OUTPUT_FIRST;
        ret->output_var = max_tokens > 0 ? 0 : (int64_t)(first * first);
        return;
    }
    ret->output = estimate_tokens(it->output.mean);
    ret->output_var = (int64_t)fmin(estimate_var(&it->output), estimate_var_max);
    if (max_tokens <= 0 || ret->output < max_tokens) return;
    ret->output = max_tokens;
    ret->output_var = 0;
}

void estimate_expect(struct estimate *e, const struct estimate_key *k, int64_t counted,
                     int64_t max_tokens, struct estimate_guess *ret)
{
    static const struct estimate_mean unknown = {.mean = 1, .n = 1};
    char key[ESTIMATE_KEY_MAX];
    const struct estimate_entry *it = estimate_find(e, estimate_key_text(k, key));
    const struct estimate_mean *factor = it && it->factor.n ? &it->factor : &unknown;
    double n = (double)(counted > ESTIMATE_TOKENS_MAX ? ESTIMATE_TOKENS_MAX
                        : counted < 1                 ? 1
                                                      : counted);
    ret->input = estimate_tokens(n * factor->mean);
    ret->input_var = (int64_t)fmin(n * n * estimate_var(factor), estimate_var_max);
    estimate_expect_output(it, max_tokens, ret);
    ret->expect_ms = it && it->ms.n ? (int64_t)it->ms.mean : ESTIMATE_FIRST_MS;
    ret->least_ms = it && it->ms.n ? estimate_tokens(it->ms.mean - sqrt(estimate_var(&it->ms))) : 0;
    ret->is_learnt = it != NULL;
}

void estimate_learn(struct estimate *e, const struct estimate_key *k,
                    const struct estimate_actual *a)
{
    char key[ESTIMATE_KEY_MAX];
    struct view text = estimate_key_text(k, key);
    struct estimate_entry *it = estimate_find(e, text);
    if (!it) it = estimate_make(e, text);
    if (!it) return;
    if (a->input > 0 && a->counted > 0) {
        double factor = (double)a->input / (double)a->counted;
        if (factor <= estimate_factor_max) estimate_move(&it->factor, factor);
    }
    if (a->output >= 0 && a->output <= ESTIMATE_TOKENS_MAX)
        estimate_move(&it->output, (double)a->output);
    if (a->took_ms >= 0 && a->took_ms <= ESTIMATE_MS_MAX)
        estimate_move(&it->ms, (double)a->took_ms);
}
