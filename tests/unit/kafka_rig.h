#ifndef TESTS_UNIT_KAFKA_RIG_H
#define TESTS_UNIT_KAFKA_RIG_H
/* A publish port whose reports are given by hand, in order. Needs cmocka.h before it. */
#include "common/base/list.h"
#include "common/base/port.h"
#include "schemas/job.h"

struct kafka_sent {
    struct list_link link;
    char topic[128], id[40];
    int32_t partition;
    char *value;
    size_t header_count;
    publish_fn *done;
    void *arg;
};

struct kafka_rig {
    struct list sent;
    size_t published;
    int64_t offset;
    enum err_code refuses; /* ERR_OK: takes all */
    char last_topic[128], last_id[40], last_value[4096], last_redrive[40];
    int32_t last_partition;
};

static inline enum err_code kafka_publish(void *self, const struct record_out *rec,
                                          publish_fn *done, void *arg, struct err *err)
{
    struct kafka_rig *k = self;
    if (k->refuses != ERR_OK) return err_set(err, k->refuses, "refused");
    struct kafka_sent *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->done = done;
    s->arg = arg;
    s->partition = rec->partition;
    snprintf(s->topic, sizeof s->topic, "%s", rec->topic);
    snprintf(k->last_topic, sizeof k->last_topic, "%s", rec->topic);
    assert_true(view_copy(rec->key, k->last_id, sizeof k->last_id));
    assert_true(view_copy(rec->value, k->last_value, sizeof k->last_value));
    k->last_partition = rec->partition;
    k->last_redrive[0] = '\0';
    for (size_t i = 0; i < rec->header_count; i++)
        if (view_eq_str(rec->headers[i].name, "redrive-of"))
            assert_true(view_copy(rec->headers[i].value, k->last_redrive, sizeof k->last_redrive));
    k->published++;
    list_push(&k->sent, &s->link);
    return ERR_OK;
}

/* Reports the oldest record: ERR_OK = acknowledged. */
static inline void kafka_report(struct kafka_rig *k, enum err_code code)
{
    struct err e;
    struct list_link *l = list_first(&k->sent);
    assert_non_null(l);
    if (!l) return; /* the compiler does not know that an assertion ends the test */
    struct kafka_sent *s = LIST_ITEM(l, struct kafka_sent, link);
    list_remove(&k->sent, l);
    (void)err_set(&e, code, "not acknowledged");
    s->done(s->arg, code == ERR_OK ? NULL : &e, code == ERR_OK ? k->offset++ : -1);
    free(s);
}

static inline struct publish_port kafka_rig_port(struct kafka_rig *k)
{
    list_init(&k->sent);
    return (struct publish_port){.self = k, .publish = kafka_publish};
}

static inline void kafka_rig_drop(struct kafka_rig *k)
{
    struct list_link *l;
    while ((l = list_first(&k->sent)) != NULL) {
        list_remove(&k->sent, l);
        free(LIST_ITEM(l, struct kafka_sent, link));
    }
}

#endif
