/* The queue of effects. Hard: an effect's views must outlive the input that made them. Chosen:
 * every queued effect owns one buffer that holds all its bytes; views are rebased onto it when
 * queued (buffers are filled once, so they do not move afterwards). */
#include "consumer/task_priv.h"

static size_t view_bytes(const struct task_effect *e)
{
    return e->source.len + e->root.len + e->request.len + e->value.len + e->output.len +
           e->error.len + e->members.len + 1;
}

static void rebase(struct buf *b, struct view *v)
{
    size_t at = b->len;

    if (!v->ptr) return;
    buf_put_view(b, *v);
    *v = view_make(b->data + at, v->len);
}

void task_emit(struct task *t, const struct task_effect *e)
{
    struct effect_node *n = t->effects.count < TASK_EFFECTS_MAX ? calloc(1, sizeof *n) : NULL;

    if (!n) {
        t->no_memory = true;
        return;
    }
    n->effect = *e;
    buf_init(&n->bytes, view_bytes(e) + 16);
    if (!buf_reserve(&n->bytes, view_bytes(e))) {
        free(n);
        t->no_memory = true;
        return;
    }
    rebase(&n->bytes, &n->effect.source);
    rebase(&n->bytes, &n->effect.root);
    rebase(&n->bytes, &n->effect.request);
    rebase(&n->bytes, &n->effect.value);
    rebase(&n->bytes, &n->effect.output);
    rebase(&n->bytes, &n->effect.error);
    rebase(&n->bytes, &n->effect.members);
    list_push(&t->effects, &n->link);
}

void task_emit_event(struct task *t, enum event_type type, const struct run *r, struct view members)
{
    struct task_effect e = {.kind = TASK_EVENT, .event = type, .item = -1, .members = members};

    if (r) {
        e.run = r->id;
        e.step = t->workflow->steps[r->step].id;
        e.item = r->item;
        e.attempt = task_run_attempt(t, r);
    }
    task_emit(t, &e);
}

static void node_free(struct effect_node *n)
{
    if (!n) return;
    buf_fini(&n->bytes);
    free(n);
}

bool task_next(struct task *t, struct task_effect *ret)
{
    struct list_link *first = list_first(&t->effects);

    node_free(t->handed_out);
    t->handed_out = NULL;
    if (!first) return false;
    list_remove(&t->effects, first);
    t->handed_out = LIST_ITEM(first, struct effect_node, link);
    *ret = t->handed_out->effect;
    return true;
}

void task_unqueue_run(struct task *t, uint32_t run)
{
    struct list_link *k = list_first(&t->effects);

    while (k) {
        struct list_link *next = list_next(&t->effects, k);
        struct effect_node *n = LIST_ITEM(k, struct effect_node, link);

        if (n->effect.run == run && (n->effect.kind == TASK_CALL || n->effect.kind == TASK_EVAL)) {
            list_remove(&t->effects, k);
            node_free(n);
        }
        k = next;
    }
}

void task_drop_effects(struct task *t)
{
    struct list_link *k;

    node_free(t->handed_out);
    t->handed_out = NULL;
    while ((k = list_first(&t->effects)) != NULL) {
        list_remove(&t->effects, k);
        node_free(LIST_ITEM(k, struct effect_node, link));
    }
}
