/* jq itself takes 12 ms a call, and has its own tests; what matters here is that the answer comes later, or never. */
#include "tests/sim/model_eval.h"

#include "common/base/json.h"
#include <assert.h>

struct model_eval {
    struct proc *proc;
    size_t refs;
    bool is_gone;
};

struct question {
    struct model_eval *eval;
    eval_fn *done;
    void *arg;
    long long length; /* -1: not an expression it knows */
};

static void eval_unref(struct model_eval *e)
{
    if (--e->refs == 0) free(e);
}

static void question_drop(void *arg)
{
    struct question *q = arg;

    eval_unref(q->eval);
    free(q);
}

static void question_answer(void *arg)
{
    struct question *q = arg;
    const struct err e = {.code = ERR_INVALID, .text = "an expression the model does not know"};
    char text[24];

    snprintf(text, sizeof text, "%lld", q->length);
    if (!q->eval->is_gone) q->done(q->arg, q->length < 0 ? &e : NULL, q->length < 0 ? VIEW_NONE : view_of(text));
    question_drop(q);
}

static long long length_of(struct view root, const char *step)
{
    struct view steps, entry, output;

    if (!json_raw_member(root, VIEW_LIT("steps"), &steps) || !json_raw_member(steps, view_of(step), &entry)) return -1;
    if (!json_raw_member(entry, VIEW_LIT("output"), &output)) return -1;
    return (long long)json_raw_count(output);
}

static void port_eval(void *self, struct view source, struct view root_json, eval_fn *done, void *arg)
{
    struct model_eval *e = self;
    struct question *q = calloc(1, sizeof *q);

    assert(q);
    *q = (struct question){.eval = e, .done = done, .arg = arg, .length = -1};
    if (view_eq_str(view_trim(source), ".steps.item.output | length")) q->length = length_of(root_json, "item");
    e->refs++;
    proc_post(e->proc, 1 + (int64_t)rng_below(world_rng(proc_world(e->proc)), 20), question_answer, question_drop, q);
}

struct model_eval *model_eval_new(struct proc *p)
{
    struct model_eval *e = calloc(1, sizeof *e);

    assert(e);
    *e = (struct model_eval){.proc = p, .refs = 1};
    return e;
}

void model_eval_free(struct model_eval *e)
{
    if (!e) return;
    e->is_gone = true;
    eval_unref(e);
}

struct eval_port model_eval_port(struct model_eval *e)
{
    return (struct eval_port){.self = e, .eval = port_eval};
}
