/* The wiring of a gateway, and what it knows of Redis' health.
 *
 * What is hard is a small word: unknown. An accepted job stands in the view a moment after its 202,
 * but only if its gateway lives and Redis answers. So every sign of trouble (a new process, a new
 * connection, an answer that took long or was an error) opens a time of doubt: an id that is not
 * there is called unknown again when the owner of its home has said, since then, that all it holds
 * is known. */
#include "gateway/service.h"

enum { SERVICE_SLOW_MS = 1000 };

/* --- Redis' health --- */

void service_doubt(struct service *s)
{
    s->doubt_ms = s->clock->mono_ms;
    memset(s->is_told, 0, sizeof s->is_told);
}

static void service_on_boot(void *arg, const struct err *e, struct view verdict)
{
    struct service *s = arg;
    if (e || !view_copy(verdict, s->boot, sizeof s->boot)) {
        s->boot[0] = '\0'; /* asked again when the connection is up again, and by the tick */
        return;
    }
    s->has_met_redis = true;
}

/* A Redis without memory says who it is and refuses everything else. */
static void service_on_probe(void *arg, const struct err *e, struct view verdict)
{
    struct service *s = arg;
    (void)verdict;
    s->is_asking = false;
    if (e || s->clock->mono_ms - s->asked_ms >= SERVICE_SLOW_MS) service_doubt(s);
}

static void service_ask(struct service *s)
{
    if (s->is_asking) return;
    s->is_asking = true;
    s->asked_ms = s->clock->mono_ms;
    fn_boot(s->fn, service_on_boot, s);
    fn_told(s->fn, 0, service_on_probe, s);
}

void service_link(struct service *s, bool is_up)
{
    s->boot[0] = '\0';
    service_doubt(s);
    if (is_up && s->fn) service_ask(s);
}

void service_tick(struct service *s)
{
    if (s->reads.is_up(s->reads.self)) service_ask(s);
}

/* --- the parts --- */

enum err_code service_begin(struct service *s, const struct service_options *o, struct err *err)
{
    const struct config *c = o->config;
    s->config = s->current = c;
    s->loop = o->loop;
    s->log = o->log;
    s->clock = o->clock;
    s->timers = o->timers;
    s->rng = o->rng;
    s->space = (struct id_space){(uint32_t)c->kafka.partitions, (uint32_t)c->kafka.lanes};
    list_init(&s->exchanges);
    buf_init(&s->scratch, o->scratch_max);
    service_doubt(s);
    if (!topics_init(&s->topics, c->kafka.topic_prefix))
        return err_set(err, ERR_INVALID, "kafka.topic_prefix");
    return ERR_OK;
}

static void service_on_trouble(void *arg)
{
    service_doubt(arg);
}

static void service_open_submit(struct service *s, const struct service_options *o)
{
    const struct submit_options so = {.producer = s->producer,
                                      .topics = &s->topics,
                                      .fn = s->fn,
                                      .boot = s->boot,
                                      .quota = s->quota,
                                      .clock = s->clock,
                                      .timers = s->timers,
                                      .rng = s->rng,
                                      .space = s->space,
                                      .results_ms = s->config->retention.results_ms,
                                      .value_max = JOB_BYTES_MAX,
                                      .under_way_max = o->under_way_max,
                                      .on_trouble = service_on_trouble,
                                      .arg = s};
    s->submit = submit_new(&so, s->workflows);
}

static void service_open_tails(struct service *s, const struct service_options *o)
{
    const struct config *c = s->config;
    const struct tails_options to = {.reads = s->reads,
                                     .doorbells = o->doorbells,
                                     .folds = s->folds,
                                     .clock = s->clock,
                                     .timers = s->timers,
                                     .heartbeat_ms = c->gateway.heartbeat_ms,
                                     .retry_ms = c->gateway.retry_ms,
                                     .watcher_bytes_max = (size_t)c->gateway.watcher_bytes_max,
                                     .watchers_max = o->watchers_max,
                                     .history_bytes_max = o->history_bytes_max};
    if (to.doorbells.self) s->tails = tails_new(&to);
}

enum err_code service_open(struct service *s, const struct service_options *o, struct err *err)
{
    const struct producer_options po = {.port = o->kafka,
                                        .topics = &s->topics,
                                        .partitions = s->space.partitions,
                                        .outstanding_max = o->under_way_max};
    s->kafka = o->kafka_options;
    s->reads = o->reads;
    s->fn = fn_new(o->commands);
    s->producer = producer_new(&po);
    s->quota = quota_new(s->reads, s->clock);
    if (!s->fn || !s->producer || !s->quota) goto nomem;
    const struct folds_options fo = {.fn = s->fn,
                                     .reads = s->reads,
                                     .boot = s->boot,
                                     .active_max = o->folds_max,
                                     .waiting_max = o->folds_waiting_max};
    s->folds = folds_new(&fo);
    if (!s->folds) goto nomem;
    service_open_submit(s, o);
    service_open_tails(s, o);
    if (s->submit && s->tails) return ERR_OK;
nomem:
    return err_set(err, ERR_NOMEM, "out of memory");
}

void service_close_redis(struct service *s)
{
    fn_free(s->fn);
    s->fn = NULL;
}

void service_close(struct service *s)
{
    exchanges_drop(s);
    tails_free(s->tails);
    submit_free(s->submit);
    folds_free(s->folds);
    quota_free(s->quota);
    producer_free(s->producer);
    auth_free(s->auth);
    buf_fini(&s->scratch);
}

bool service_is_busy(const struct service *s)
{
    return s->exchanges.count > 0 || submit_under_way(s->submit) > 0;
}
