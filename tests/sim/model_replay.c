/* Reading a range of the model Kafka outside the group, page by page, in the reader's own time. */
#include "tests/sim/model_kafka_priv.h"

struct replay {
    struct model_consumer *who;
    struct replay_ask ask;
    int64_t next, to, moved_ms;
    bool canceled;
};

static void replay_drop(void *arg)
{
    struct replay *r = arg;

    model_consumer_unref(r->who);
    free(r);
}

static void replay_page(void *arg)
{
    struct replay *r = arg;
    struct model_kafka *k = r->who->kafka;
    const struct model_log *l = &k->logs[r->ask.topic][r->ask.partition];

    if (k->paused && !r->canceled && !r->who->gone) { /* looks again later, in its own process */
        if (world_now_ms(k->world) - r->moved_ms > MODEL_ASK_MS) {
            const struct err late = {.code = ERR_TIMEOUT, .text = "kafka: the replay stands still"};

            r->ask.done(r->ask.arg, &late, r->next);
            replay_drop(r);
            return;
        }
        proc_post(r->who->proc, 100, replay_page, replay_drop, r);
        return;
    }
    r->moved_ms = world_now_ms(k->world);
    for (int i = 0; i < 20 && r->next < r->to && !r->canceled && !r->who->gone; i++) {
        struct record_in rec = l->records[r->next++]->rec;

        if (r->ask.topic != TOPIC_STATE) rec.value = VIEW_NONE; /* headers only, as the adapter asks for */
        r->ask.handle(r->ask.arg, &rec);
    }
    if (r->canceled || r->who->gone) {
        replay_drop(r);
    } else if (r->next < r->to) {
        proc_post(r->who->proc, 1, replay_page, replay_drop, r);
    } else {
        r->ask.done(r->ask.arg, NULL, r->to);
        replay_drop(r);
    }
}

/* As the broker: the first record that is as young; all behind it are read, whatever clocks did. */
static int64_t first_since(const struct model_log *l, int64_t from_ms)
{
    size_t i = 0;

    while (i < l->count && l->records[i]->rec.timestamp_ms < from_ms) i++;
    return (int64_t)i;
}

static void *port_replay_start(void *self, const struct replay_ask *ask, struct err *err)
{
    struct model_consumer *c = self;
    struct replay *r = calloc(1, sizeof *r);
    int64_t end = model_kafka_end(c->kafka, ask->topic, ask->partition);

    (void)err;
    assert(r);
    *r = (struct replay){.who = c, .ask = *ask, .next = ask->from < 0 ? 0 : ask->from, .to = ask->to < 0 || ask->to > end ? end : ask->to};
    if (ask->from < 0 && ask->from_ms > 0) r->next = first_since(&c->kafka->logs[ask->topic][ask->partition], ask->from_ms);
    r->moved_ms = world_now_ms(c->kafka->world);
    c->refs++;
    proc_post(c->proc, 1 + model_kafka_soon(c->kafka, 10), replay_page, replay_drop, r);
    return r;
}

static void port_replay_cancel(void *self, void *replay)
{
    (void)self;
    ((struct replay *)replay)->canceled = true;
}

struct replay_port model_consumer_replay_port(struct model_consumer *c)
{
    return (struct replay_port){.self = c, .start = port_replay_start, .cancel = port_replay_cancel};
}
