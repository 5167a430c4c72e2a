/* A worker: the parts put together, and the order of a turn.
 *
 * Everything that waits for the world hangs from here by lists with bounds, so freeing is a walk
 * over lists. A turn first reads (the logs, then intake as far as there is room), then starts what
 * may start, then grants calls, and at last sends what all this made: one append a job, publishes
 * as they came. Work beyond a turn's measure asks for another turn instead of holding the loop. */
#include "consumer/worker.h"

#include "consumer/foreign.h"
#include "consumer/gate.h"
#include "consumer/home.h"
#include "consumer/rebuild.h"
#include <assert.h>

enum {
    WORKER_TAIL_TURN = 1024, /* records of state[p] a turn and home */
    WORKER_INTAKE_TURN = 256,
    WORKER_START_TURN = 512,
    WORKER_COMMIT_MS = 1000,
    WORKER_PARK_TURN = 256,
    WORKER_LINE_LEAST = 64,  /* jobs that may stand before a model's line, however slow it is */
    WORKER_JOBS_SLACK = 4096 /* closers beyond max_jobs */
};

/* --- small questions ------------------------------------------------------------------------- */
bool worker_is_admitting(const struct worker *w)
{
    return w->state == WORKER_ACTIVE;
}

bool worker_may_start(const struct worker *w)
{
    return worker_is_admitting(w) && lease_is_held(w->lease) &&
           w->ports.redis.is_up(w->ports.redis.self);
}

void worker_kick(struct worker *w)
{
    w->ports.kick(w->ports.kick_arg);
}

struct jobrun *worker_run_find(const struct worker *w, const struct job_id *id)
{
    return map_get(w->runs, view_of(id->text));
}

struct home *worker_home(const struct worker *w, uint32_t partition)
{
    return partition < w->home_max ? w->homes[partition] : NULL;
}

int64_t worker_weight(const struct worker *w, const char *tenant)
{
    const struct config_tenant *t = config_tenant_find(w->ports.config, view_of(tenant));
    return t ? t->weight : 1;
}

void worker_ignore_done(void *arg, const struct err *e, struct view verdict)
{
    (void)arg, (void)e, (void)verdict;
}

int64_t worker_retry_ms(const struct worker *w, int64_t base_ms)
{
    return w->ports.clock->mono_ms + base_ms * 3 / 4 +
           (int64_t)rng_below(w->ports.rng, (uint64_t)(base_ms / 2 + 1));
}

const char *worker_state_name(enum worker_state s)
{
    static const char *const names[] = {"active", "quiescing", "draining", "drained"};
    return names[s];
}

/* --- the heartbeat --------------------------------------------------------------------------- */
/* Homes whose mark is asked for: ours, and those of jobs that live here after their home went. */
static size_t worker_beat_homes(void *arg, uint32_t *ret, size_t max)
{
    struct worker *w = arg;
    size_t n = 0;
    memset(w->asked, 0, w->home_max);
    for (struct list_link *k = list_first(&w->home_list); k; k = list_next(&w->home_list, k))
        w->asked[LIST_ITEM(k, struct home, link)->partition] = true;
    for (struct list_link *k = list_first(&w->run_list); k; k = list_next(&w->run_list, k)) {
        uint32_t p = id_partition(&LIST_ITEM(k, struct jobrun, link)->id);
        if (p < w->home_max) w->asked[p] = true;
    }
    for (uint32_t p = 0; p < w->home_max && n < max; p++)
        if (w->asked[p]) ret[n++] = p;
    return n;
}

static void worker_beat_info(void *arg, struct buf *out)
{
    const struct worker *w = arg;
    const struct config *c = w->ports.config;
    struct jw j;
    jw_init(&j, out);
    jw_object(&j);
    jw_kstr(&j, "worker", w->ports.worker_name);
    jw_kcstr(&j, "build", c->consumer.build);
    jw_kcstr(&j, "color", c->consumer.color);
    jw_kcstr(&j, "state", worker_state_name(w->state));
    jw_kint(&j, "running", (int64_t)w->run_list.count);
    jw_kint(&j, "calls", (int64_t)pacer_in_flight(w->pacer));
    jw_kint(&j, "homes", (int64_t)w->home_list.count);
    jw_kint(&j, "at", w->ports.clock->wall_ms);
    jw_end_object(&j);
}

static void worker_probe(struct worker *w, uint32_t partition)
{
    for (struct list_link *k = list_first(&w->run_list); k; k = list_next(&w->run_list, k)) {
        struct jobrun *r = LIST_ITEM(k, struct jobrun, link);
        if (id_partition(&r->id) == partition) jobrun_probe(r);
    }
}

static void worker_on_home_mark(void *arg, uint32_t partition, bool is_built)
{
    struct worker *w = arg;
    struct home *h = worker_home(w, partition);
    if (!is_built || !w->marked[partition]) worker_probe(w, partition);
    w->marked[partition] = is_built;
    if (h && h->state == HOME_READY) home_set_built(h, is_built);
}

static void worker_on_beat(void *arg, bool boot_changed)
{
    struct worker *w = arg;
    if (lease_unbroken_ms(w->lease) != w->unbroken_ms) {
        w->unbroken_ms = lease_unbroken_ms(w->lease);
        for (struct list_link *k = list_first(&w->run_list); k; k = list_next(&w->run_list, k))
            jobrun_doubt(LIST_ITEM(k, struct jobrun, link), true);
    }
    if (boot_changed)
        log_event(w->ports.log, LOG_INFO, VIEW_NONE, "redis_boot",
                  LOG_V("boot", lease_boot(w->lease)));
    worker_kick(w);
}

/* --- the doorbell ---------------------------------------------------------------------------- */
/* "cancel <id>", or "held <id>": somebody wants a job that Redis says is ours. */
static void worker_on_message(void *arg, struct view channel, struct view payload)
{
    struct worker *w = arg;
    struct job_id id;
    struct jobrun *r;
    struct view word, text;
    (void)channel;
    if (!view_cut(payload, ' ', &word, &text) || !id_parse(text, &id)) return;
    r = worker_run_find(w, &id);
    if (r && view_eq_str(word, "cancel") && !r->is_canceled) jobrun_cancel(r);
    if (!r && view_eq_str(word, "held"))
        fn_disclaim(w->ports.fn, &id, view_of(w->incarnation), worker_ignore_done, NULL);
}

/* Cancels may have been missed: the flag comes with the next answer. */
static void worker_on_reset(void *arg)
{
    struct worker *w = arg;
    for (struct list_link *k = list_first(&w->run_list); k; k = list_next(&w->run_list, k))
        jobrun_probe(LIST_ITEM(k, struct jobrun, link));
    lease_hurry(w->lease);
    worker_kick(w);
}

static void worker_on_subscribed(void *arg, const struct reply *r, const struct err *e)
{
    (void)arg, (void)r, (void)e; /* it subscribes again by itself */
}

static void worker_subscribe(struct worker *w)
{
    char channel[FN_KEY_MAX];
    struct view name = fn_key(FN_KEY_BEAT, view_of(w->incarnation), channel);
    w->ports.doorbell.listen(w->ports.doorbell.self, worker_on_message, worker_on_reset, w);
    w->ports.doorbell.subscribe(w->ports.doorbell.self, name, worker_on_subscribed, w);
}

/* --- made and freed -------------------------------------------------------------------------- */
static void worker_kick_arg(void *arg)
{
    worker_kick(arg);
}

static bool worker_may_call(void *arg)
{
    const struct worker *w = arg;
    return lease_is_held(w->lease);
}

/* A worker that slept between the grant and the request does not hold the job any more: another may
 * have done the step. */
static int64_t worker_send_by(void *arg)
{
    const struct worker *w = arg;
    int64_t until = lease_until_ms(w->lease);
    return until > 0 ? until : 1;
}

/* Who waits for long gives its place to others. */
static void worker_park(struct worker *w)
{
    size_t max = (size_t)w->ports.config->consumer.max_jobs, left = WORKER_PARK_TURN;
    bool is_tight = w->run_list.count * 2 >= max;
    if (!worker_may_start(w)) return;
    for (struct list_link *k = list_first(&w->paced), *next; k && left; k = next) {
        struct jobrun *r = LIST_ITEM(k, struct jobrun, paced);
        next = list_next(&w->paced, k);
        if (!jobrun_may_park(r, is_tight)) continue;
        jobrun_park(r);
        left--;
    }
}

static void worker_on_commit_timer(void *arg)
{
    struct worker *w = arg;
    worker_park(w);
    worker_kick(w); /* homes have something to tell */
    for (struct list_link *k = list_first(&w->home_list); k; k = list_next(&w->home_list, k)) {
        struct home *h = LIST_ITEM(k, struct home, link);
        home_commit(h);
        if (h->state == HOME_READY)
            known_expire(h->known, w->ports.clock->wall_ms - JOB_HORIZON_MS);
    }
    (void)timerq_set(w->ports.timers, &w->commit_timer, w->ports.clock->mono_ms + WORKER_COMMIT_MS,
                     worker_on_commit_timer, w);
}

static void worker_init_lists(struct worker *w)
{
    list_init(&w->home_list);
    list_init(&w->lost_homes);
    list_init(&w->run_list);
    list_init(&w->gone_list);
    list_init(&w->paced);
    list_init(&w->parkings);
    list_init(&w->letters);
    list_init(&w->rebuilds);
}

static void worker_wire(struct worker *w)
{
    const struct worker_ports *p = &w->ports;
    w->calls.pacer = w->pacer;
    w->calls.http = &w->ports.http;
    w->calls.clock = p->clock;
    w->calls.timers = p->timers;
    w->calls.provider_key = p->provider_key;
    w->calls.provider_key_arg = p->provider_key_arg;
    w->calls.send_by_ms = worker_send_by;
    w->calls.send_by_arg = w;
    call_env_init(&w->calls);
    w->mirrors.fn = p->fn;
    w->mirrors.clock = p->clock;
    w->mirrors.timers = p->timers;
    w->mirrors.incarnation = view_of(w->incarnation);
    w->mirrors.results_ms = p->config->retention.results_ms;
    w->mirrors.events_ms = p->config->retention.events_ms;
    w->mirrors.kick = p->kick;
    w->mirrors.kick_arg = p->kick_arg;
    mirror_env_init(&w->mirrors);
}

static void worker_on_usage(void *arg)
{
    struct worker *w = arg;
    if (w->pacer) pacer_recheck_tenants(w->pacer);
    worker_kick(w);
}

/* A worker of few jobs has short lines, too. */
static size_t worker_line_least(const struct config *c)
{
    int64_t half = c->consumer.max_jobs / 2 + 1;
    return half < WORKER_LINE_LEAST ? (size_t)half : WORKER_LINE_LEAST;
}

static bool worker_make_pacer(struct worker *w)
{
    const struct worker_ports *p = &w->ports;
    const struct usage_options usage = {.fn = p->fn,
                                        .clock = p->clock,
                                        .timers = p->timers,
                                        .incarnation = view_of(w->incarnation),
                                        .retention_ms = p->config->retention.usage_ms,
                                        .metrics = p->metrics,
                                        .on_heard = worker_on_usage,
                                        .arg = w};
    w->usage = usage_new(&usage);
    const struct pacer_options pacer = {.fn = p->fn,
                                        .config = p->config,
                                        .clock = p->clock,
                                        .timers = p->timers,
                                        .rng = p->rng,
                                        .log = p->log,
                                        .metrics = p->metrics,
                                        .usage = w->usage,
                                        .incarnation = view_of(w->incarnation),
                                        .calls_max = (size_t)p->config->consumer.max_calls,
                                        .line_least = worker_line_least(p->config),
                                        .may_start = worker_may_call,
                                        .kick = worker_kick_arg,
                                        .arg = w};
    w->pacer = w->usage ? pacer_new(&pacer) : NULL;
    return w->pacer != NULL;
}

static bool worker_make(struct worker *w)
{
    const struct worker_ports *p = &w->ports;
    const struct outbox_options outbox = {.publish = &w->ports.publish,
                                          .topics = p->topics,
                                          .clock = p->clock,
                                          .timers = p->timers,
                                          .rng = p->rng,
                                          .log = p->log,
                                          .retries = w->meters.publish_retries};
    const struct lease_options lease = {.fn = p->fn,
                                        .clock = p->clock,
                                        .timers = p->timers,
                                        .incarnation = view_of(w->incarnation),
                                        .ttl_ms = p->config->consumer.lease_ttl_ms,
                                        .homes = worker_beat_homes,
                                        .info = worker_beat_info,
                                        .on_home = worker_on_home_mark,
                                        .on_beat = worker_on_beat,
                                        .arg = w};
    const struct scheduler_options sched = {.items_max = WORKER_QUEUE_MAX,
                                            .interactive_weight =
                                                p->config->consumer.interactive_weight,
                                            .bulk_weight = p->config->consumer.bulk_weight};
    const struct spill_options spill = {.window = p->config->consumer.window,
                                        .share = p->config->consumer.window_share,
                                        .runs_max = p->config->consumer.max_jobs,
                                        .tenants_max = WORKER_QUEUE_MAX};
    w->home_max = (size_t)p->config->kafka.partitions;
    w->homes = calloc(w->home_max, sizeof(struct home *));
    w->asked = calloc(w->home_max, sizeof *w->asked);
    w->marked = calloc(w->home_max, sizeof *w->marked);
    w->runs = map_new((size_t)p->config->consumer.max_jobs + WORKER_JOBS_SLACK);
    w->sched = scheduler_new(&sched);
    w->spill = spill_new(&spill);
    w->outbox = outbox_new(&outbox);
    w->lease = lease_new(&lease);
    if (!worker_make_pacer(w)) return false;
    w->gate = gate_new(w);
    w->foreign = foreign_new(w);
    return w->gate && w->homes && w->asked && w->marked && w->runs && w->sched && w->spill &&
           w->outbox && w->lease && w->foreign;
}

struct worker *worker_new(const struct worker_ports *ports, struct err *err)
{
    struct worker *w = calloc(1, sizeof *w);
    if (!w) {
        (void)err_set(err, ERR_NOMEM, "no memory for a worker");
        return NULL;
    }
    w->ports = *ports;
    worker_init_lists(w);
    int len =
        snprintf(w->incarnation, sizeof w->incarnation, "%.*s:%.*s", (int)ports->worker_name.len,
                 ports->worker_name.ptr, (int)ports->boot.len, ports->boot.ptr);
    assert(len > 0 && (size_t)len < sizeof w->incarnation);
    worker_meters_init(&w->meters, &w->calls.meters, ports->metrics);
    if (!worker_make(w)) {
        (void)err_set(err, ERR_NOMEM, "no memory for a worker");
        worker_free(w);
        return NULL;
    }
    worker_wire(w);
    worker_subscribe(w);
    lease_start(w->lease);
    worker_on_commit_timer(w);
    return w;
}

static void worker_free_runs(struct worker *w, struct list *runs)
{
    struct list_link *k;
    while ((k = list_first(runs)) != NULL) {
        struct jobrun *r = LIST_ITEM(k, struct jobrun, link);
        list_remove(runs, k);
        jobrun_free(r);
    }
    (void)w;
}

static void worker_free_homes(struct list *homes)
{
    struct list_link *k;
    while ((k = list_first(homes)) != NULL) {
        list_remove(homes, k);
        home_free(LIST_ITEM(k, struct home, link));
    }
}

void worker_free(struct worker *w)
{
    if (!w) return;
    timerq_cancel(w->ports.timers, &w->commit_timer);
    timerq_cancel(w->ports.timers, &w->drain_timer);
    timerq_cancel(w->ports.timers, &w->leave_timer);
    worker_free_runs(w, &w->run_list);
    worker_free_runs(w, &w->gone_list);
    worker_free_homes(&w->home_list);
    worker_free_homes(&w->lost_homes);
    home_drop_parkings(w);
    home_drop_letters(w);
    rebuild_drop_stopped(w);
    if (w->calls.pacer) {
        call_env_fini(&w->calls);
        mirror_env_fini(&w->mirrors);
    }
    foreign_free(w->foreign);
    pacer_free(w->pacer);
    usage_free(w->usage);
    lease_free(w->lease);
    outbox_free(w->outbox);
    gate_free(w->gate);
    scheduler_free(w->sched);
    spill_free(w->spill);
    map_free(w->runs);
    free(w->asked);
    free(w->marked);
    free(w->homes);
    free(w);
}

/* --- the group ------------------------------------------------------------------------------- */
void worker_on_assigned(struct worker *w, const int32_t *partitions, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t p = (uint32_t)partitions[i];
        if (p >= w->home_max || w->homes[p] || !worker_is_admitting(w)) continue;
        struct home *h = home_new(w, p);
        if (!h) {
            log_event(w->ports.log, LOG_ERROR, VIEW_NONE, "home_not_made", LOG_N("partition", p));
            continue;
        }
        w->homes[p] = h;
        list_push(&w->home_list, &h->link);
        log_event(w->ports.log, LOG_INFO, VIEW_NONE, "home_assigned", LOG_N("partition", p));
        home_start(h);
    }
}

void worker_on_revoked(struct worker *w, const int32_t *partitions, size_t count, bool lost)
{
    for (size_t i = 0; i < count; i++) {
        struct home *h = worker_home(w, (uint32_t)partitions[i]);
        if (!h) continue;
        log_event(w->ports.log, LOG_INFO, VIEW_NONE, "home_revoked",
                  LOG_N("partition", partitions[i]), LOG_N("lost", lost));
        if (!lost) home_commit_last(h);
        home_lose(h);
    }
}

void worker_on_readable(struct worker *w)
{
    w->is_readable = true;
    worker_kick(w);
}

void worker_on_commit(struct worker *w, enum topic topic, int32_t partition, int64_t offset,
                      const struct err *e)
{
    struct home *h = worker_home(w, (uint32_t)partition);
    (void)offset;
    if (!h || topic > TOPIC_STATE) return;
    home_on_commit(h, topic, e);
    drain_committed(w);
}

/* --- the turn -------------------------------------------------------------------------------- */
static void worker_read(struct worker *w)
{
    bool is_more = false;
    size_t skip = w->home_list.count ? w->next_home++ % w->home_list.count : 0;
    w->is_readable = false;
    for (struct list_link *k = list_first(&w->home_list); k; k = list_next(&w->home_list, k))
        is_more |=
            home_read_tail(LIST_ITEM(k, struct home, link), WORKER_TAIL_TURN) == WORKER_TAIL_TURN;
    if (worker_is_admitting(w)) {
        struct list_link *k = list_first(&w->home_list);
        while (skip--) k = list_next(&w->home_list, k);
        for (size_t left = w->home_list.count; left; left--) {
            is_more |= home_read_intake(LIST_ITEM(k, struct home, link), WORKER_INTAKE_TURN) ==
                       WORKER_INTAKE_TURN;
            k = list_next(&w->home_list, k);
            if (!k) k = list_first(&w->home_list);
        }
    }
    w->is_readable |= is_more;
}

/* The next one that may start, out of its line. NULL: none, or *left is used up. */
static struct item *worker_next(struct worker *w, size_t *left, size_t *ret_group)
{
    struct item *it = gate_next(w->gate, ret_group);
    struct item *first;
    while (!it && *left && (first = gate_peek(w, w->sched)) != NULL) {
        (*left)--;
        (void)scheduler_take(w->sched);
        if (!gate_keeps(w->gate, first, ret_group)) it = first;
    }
    return it;
}

static bool worker_has_room(const struct worker *w)
{
    return worker_may_start(w) && w->run_list.count < (size_t)w->ports.config->consumer.max_jobs;
}

static void worker_start(struct worker *w)
{
    size_t left = WORKER_START_TURN;
    while (left && worker_has_room(w)) {
        size_t group = PACER_NO_GROUP;
        struct item *it = worker_next(w, &left, &group);
        if (!it) break;
        if (left) left--;
        if (!it->home->is_built) {
            list_push(&it->home->blocked, &it->waiting);
            continue;
        }
        home_take(it);
        if (jobrun_begin(w, it, group)) continue;
        (void)spill_leave(w->spill, &it->place);
        home_key_sync(it->home, it->job);
        foreign_add(w->foreign, it, VIEW_LIT("")); /* no memory: look again in a while */
    }
    if (!left) worker_kick(w);
}

void worker_turn(struct worker *w)
{
    if (w->is_readable) worker_read(w);
    for (struct list_link *k = list_first(&w->home_list), *next; k; k = next) {
        struct home *h = LIST_ITEM(k, struct home, link);
        next = list_next(&w->home_list, k);
        home_close_pending(h);
        home_key_turn(h);
        home_tell_waiting(h);
        rebuild_turn(h);
    }
    worker_start(w);
    gate_tell(w->gate);
    pacer_pump(w->pacer);
    if (worker_has_room(w) && gate_has_open(w->gate)) worker_kick(w);
    mirror_flush(&w->mirrors);
    jobrun_reap(w);
    drain_check(w);
    if (w->is_readable) worker_kick(w);
}
