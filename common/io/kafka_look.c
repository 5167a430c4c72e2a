/* A look at a cluster from outside.
 *
 * Only metadata and the description of one group are asked for, both of which change nothing. A
 * broker that is away is the answer most worth giving quickly, so the handle gives up on an address
 * sooner than a worker would, and the last error of a connection is kept: "timed out" alone does
 * not say that a certificate or a password was refused. */
#include "common/io/kafka_look.h"

#include "common/io/kafka_priv.h"
#include <assert.h>

enum { LOOK_TOPICS_MAX = 64, LOOK_NAME_MAX = 256, LOOK_NAP_MS = 100 };

struct look_job {
    rd_kafka_conf_t *conf; /* until the work took it */
    char names[LOOK_TOPICS_MAX][LOOK_NAME_MAX];
    struct kafka_look_topic topics[LOOK_TOPICS_MAX];
    char group[LOOK_NAME_MAX], state[64], reason[160], trouble[160];
    int look_ms;
    bool is_loading; /* the group's coordinator is not there yet */
    struct kafka_look look;
    struct err err; /* code ERR_OK: an answer */
    kafka_look_fn *done;
    void *arg;
};

static void look_on_error(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
    struct look_job *j = opaque;
    (void)rk;
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN && j->trouble[0]) return;
    snprintf(j->trouble, sizeof j->trouble, "%s", reason);
}

/* --- topics ---------------------------------------------------------------------------------- */

static void look_take_topic(struct kafka_look_topic *t, const struct rd_kafka_metadata_topic *m)
{
    t->partitions = m->partition_cnt;
    for (int i = 0; i < m->partition_cnt; i++) {
        if (i == 0 || m->partitions[i].replica_cnt < t->replicas)
            t->replicas = m->partitions[i].replica_cnt;
        t->leaderless += m->partitions[i].leader < 0;
    }
}

static bool look_at_topics(struct look_job *j, rd_kafka_t *rk)
{
    const struct rd_kafka_metadata *md = NULL;
    rd_kafka_resp_err_t code = rd_kafka_metadata(rk, 1, NULL, &md, j->look_ms);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_poll(rk, 0); /* error reports wait for it */
        err_set(&j->err, ERR_UNAVAILABLE, "%s",
                j->trouble[0] ? j->trouble : rd_kafka_err2str(code));
        return false;
    }
    j->look.brokers = md->broker_cnt;
    for (size_t i = 0; i < j->look.topic_count; i++)
        for (int k = 0; k < md->topic_cnt; k++)
            if (strcmp(md->topics[k].topic, j->names[i]) == 0)
                look_take_topic(&j->topics[i], &md->topics[k]);
    rd_kafka_metadata_destroy(md);
    return true;
}

/* --- the group ------------------------------------------------------------------------------- */

static void look_take_group(struct look_job *j, const rd_kafka_ConsumerGroupDescription_t *g)
{
    const rd_kafka_error_t *e = rd_kafka_ConsumerGroupDescription_error(g);
    if (e) {
        rd_kafka_resp_err_t code = rd_kafka_error_code(e);
        j->is_loading = code == RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS ||
                        code == RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE ||
                        code == RD_KAFKA_RESP_ERR_NOT_COORDINATOR;
        snprintf(j->reason, sizeof j->reason, "%s", rd_kafka_error_string(e));
        return;
    }
    j->look.is_known = true;
    snprintf(j->state, sizeof j->state, "%s",
             rd_kafka_consumer_group_state_name(rd_kafka_ConsumerGroupDescription_state(g)));
    j->look.members = rd_kafka_ConsumerGroupDescription_member_count(g);
    for (size_t i = 0; i < j->look.members; i++) {
        const rd_kafka_MemberDescription_t *m = rd_kafka_ConsumerGroupDescription_member(g, i);
        const rd_kafka_MemberAssignment_t *a = m ? rd_kafka_MemberDescription_assignment(m) : NULL;
        const rd_kafka_topic_partition_list_t *held =
            a ? rd_kafka_MemberAssignment_partitions(a) : NULL;
        if (held) j->look.owned += (size_t)held->cnt;
    }
}

static void look_ask_group(struct look_job *j, rd_kafka_t *rk)
{
    const char *groups[] = {j->group};
    char text[160];
    size_t count = 0;
    rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
    rd_kafka_AdminOptions_t *o =
        rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS);
    rd_kafka_AdminOptions_set_request_timeout(o, j->look_ms, text, sizeof text);
    rd_kafka_DescribeConsumerGroups(rk, groups, 1, o, q);
    rd_kafka_event_t *ev = rd_kafka_queue_poll(q, j->look_ms + 200);
    const rd_kafka_DescribeConsumerGroups_result_t *r =
        ev ? rd_kafka_event_DescribeConsumerGroups_result(ev) : NULL;
    const rd_kafka_ConsumerGroupDescription_t **all =
        r ? rd_kafka_DescribeConsumerGroups_result_groups(r, &count) : NULL;
    if (all && count > 0)
        look_take_group(j, all[0]);
    else
        snprintf(j->reason, sizeof j->reason, "%s",
                 ev && rd_kafka_event_error(ev) ? rd_kafka_event_error_string(ev) : "no answer");
    if (ev) rd_kafka_event_destroy(ev);
    rd_kafka_AdminOptions_destroy(o);
    rd_kafka_queue_destroy(q);
}

/* A coordinator that has just been chosen is still reading its groups: asked again until it has. */
static void look_at_group(struct look_job *j, rd_kafka_t *rk)
{
    const struct timespec nap = {.tv_nsec = LOOK_NAP_MS * 1000000L};
    int64_t by_ms = kafka_pool_now_ms() + j->look_ms;
    j->is_loading = true;
    while (j->is_loading && kafka_pool_now_ms() < by_ms) {
        j->is_loading = false;
        look_ask_group(j, rk);
        if (j->is_loading) nanosleep(&nap, NULL);
    }
}

/* --- the job --------------------------------------------------------------------------------- */

static void look_work(void *arg)
{
    struct look_job *j = arg;
    rd_kafka_conf_set_opaque(j->conf, j);
    rd_kafka_conf_set_error_cb(j->conf, look_on_error);
    rd_kafka_t *rk = kafka_plain_new(RD_KAFKA_PRODUCER, j->conf, &j->err);
    j->conf = NULL;
    if (!rk) return;
    if (look_at_topics(j, rk)) look_at_group(j, rk);
    rd_kafka_destroy(rk);
}

static void look_done(void *arg)
{
    struct look_job *j = arg;
    j->look.topics = j->topics;
    j->look.state = j->state;
    j->look.reason = j->reason;
    j->done(j->arg, j->err.code == ERR_OK ? NULL : &j->err, &j->look);
    if (j->conf) rd_kafka_conf_destroy(j->conf);
    free(j);
}

enum err_code kafka_look_start(struct loop *l, const struct kafka_look_ask *ask, struct err *err)
{
    static const struct kafka_default ours[] = {
        {"socket.connection.setup.timeout.ms", "3000", false},
        {"allow.auto.create.topics", "false", true}};
    assert(ask->topic_count <= LOOK_TOPICS_MAX);
    struct look_job *j = calloc(1, sizeof *j);
    if (!j) return err_set(err, ERR_NOMEM, "kafka: no memory");
    j->look.topic_count = ask->topic_count;
    j->look_ms = ask->look_ms;
    j->done = ask->done;
    j->arg = ask->arg;
    snprintf(j->group, sizeof j->group, "%s", ask->group);
    for (size_t i = 0; i < ask->topic_count; i++) {
        snprintf(j->names[i], sizeof j->names[i], "%s", ask->topics[i]);
        j->topics[i].name = j->names[i];
    }
    j->conf = kafka_conf_new(ask->common, ours, sizeof ours / sizeof *ours, err);
    enum err_code code =
        j->conf ? loop_offload(l, look_work, look_done, j, err) : (err ? err->code : ERR_INVALID);
    if (code == ERR_OK) return ERR_OK;
    if (j->conf) rd_kafka_conf_destroy(j->conf);
    free(j);
    return code;
}
