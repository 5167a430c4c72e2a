/* Submitting clients. What they may conclude: 202 means accepted, 422 another payload came first, 503 and silence nothing: with a key they
 * try again, without one they do not know, and the judge looks into the log. */
#define _GNU_SOURCE /* memmem */
#include "tests/sim/crowd_priv.h"

#include <assert.h>

enum { PATIENCE_MS = 12000, TRIES_MAX = 200 };

int64_t crowd_chance(const struct crowd *c, int64_t below)
{
    return (int64_t)rng_below(world_rng(c->plant->world), (uint64_t)below);
}

struct sim_gateway *crowd_gateway(const struct crowd *c)
{
    size_t at = (size_t)crowd_chance(c, (int64_t)c->gateway_count);

    for (size_t i = 0; i < c->gateway_count; i++, at = (at + 1) % c->gateway_count)
        if (sim_gateway_is_running(c->gateways[at])) return c->gateways[at];
    return NULL;
}

void crowd_after(const struct crowd *c, int64_t delay_ms, sim_fn *fn, void *arg)
{
    world_after(c->plant->world, delay_ms, fn, NULL, arg);
}

struct model_web *crowd_web_of(struct sim_gateway *g)
{
    return g ? sim_gateway_web(g) : NULL;
}

bool crowd_read_id(const struct buf *body, const char *member, char ret[40])
{
    struct view raw;
    struct buf id;
    bool is_read;

    buf_init(&id, 64);
    is_read = json_raw_member(buf_view(body), view_of(member), &raw) && json_raw_string(raw, &id) && view_copy(buf_view(&id), ret, 40);
    buf_fini(&id);
    return is_read;
}

/* --- submitting -------------------------------------------------------------------------------------------------------------------- */
static void submit_go(void *job);

void crowd_accept(struct crowd_job *j, struct view id)
{
    struct crowd *c = j->crowd;

    if (j->is_accepted) return;
    if (j->id[0] && !view_eq_str(id, j->id)) plant_blame(c->plant, "A: job %s is told as %.*s now", j->id, (int)id.len, id.ptr);
    j->is_accepted = true;
    j->accepted_ms = world_now_ms(c->plant->world);
    must(view_copy(id, j->id, sizeof j->id));
    for (unsigned i = 0; i < j->watchers; i++) crowd_after(c, crowd_chance(c, 3000), crowd_watch_connect, crowd_watch_new(j));
    if (j->cancel_after_ms >= 0) crowd_after(c, j->cancel_after_ms, crowd_cancel_go, j);
    if (j->peeks)
        for (int i = 0; i < 3; i++) crowd_after(c, crowd_chance(c, 5000), crowd_peek_go, j);
}

static void settle(struct crowd_job *j)
{
    j->is_settled = true;
    j->request = NULL;
}

static void try_again(struct crowd_job *j)
{
    j->request = NULL;
    if (++j->tries > TRIES_MAX) plant_blame(j->crowd->plant, "job of key %s: never answered but by 503", j->key);
    crowd_after(j->crowd, 200 + crowd_chance(j->crowd, 1000), submit_go, j);
}

static void submit_head(void *arg, const struct model_answer *a)
{
    struct crowd_job *j = arg;
    struct view id;

    j->status = a->status;
    if (a->status != 200 || j->mode != CROWD_STREAM) return;
    id = view_of(a->location);
    if (id.len != 9 + JOB_ID_LEN) {
        plant_blame(j->crowd->plant, "B: a streamed submission without a Location");
        return;
    }
    j->streaming = crowd_watch_new(j);
    j->streaming->is_ndjson = false;
    crowd_accept(j, view_make(id.ptr + 9, id.len - 9));
    crowd_watch_take_over(j->streaming);
    settle(j); /* the request is the watcher's from now on */
}

static void submit_body(void *arg, struct view bytes)
{
    struct crowd_job *j = arg;

    if (j->streaming) {
        crowd_watch_body(j->streaming, bytes);
    } else {
        buf_put_view(&j->answer, bytes);
    }
}

static void submit_refused(struct crowd_job *j)
{
    char id[40] = "";

    if (j->status == 422 && j->key[0] && memmem(j->answer.data, j->answer.len, "idempotency_key_reused", 22)) {
        j->is_mismatch = true;
        settle(j);
        return;
    }
    if (j->status != 503 && j->status != 0)
        plant_blame(j->crowd->plant, "A: a good submission was answered %d: %.*s", j->status, (int)j->answer.len, j->answer.data);
    if (j->status == 503 && crowd_read_id(&j->answer, "job_id", id) && !j->id[0]) memcpy(j->id, id, sizeof id);
    if (j->key[0])
        try_again(j);
    else
        settle(j);
}

static void submit_end(void *arg, bool is_whole)
{
    struct crowd_job *j = arg;
    char id[40] = "";

    if (j->streaming) {
        crowd_watch_end(j->streaming, is_whole);
        return;
    }
    if (!is_whole) j->status = 0;
    if ((j->status == 202 || (j->status == 200 && j->mode == CROWD_WAIT)) && crowd_read_id(&j->answer, "id", id)) {
        crowd_accept(j, view_of(id));
        settle(j);
    } else {
        submit_refused(j);
    }
}

struct patience {
    struct crowd_job *job;
    unsigned tries;
};

static void patience_ends(void *arg)
{
    struct patience *p = arg;
    struct crowd_job *j = p->job;

    if (j->request && !j->streaming && j->tries == p->tries) {
        model_request_leave(j->request);
        j->request = NULL;
        j->status = 0;
        buf_reset(&j->answer);
        submit_refused(j);
    }
    free(p);
}

static void submit_go(void *job)
{
    static const struct model_client_sink sink = {.on_head = submit_head, .on_body = submit_body, .on_end = submit_end};
    struct crowd_job *j = job;
    struct crowd *c = j->crowd;
    struct patience *p = calloc(1, sizeof *p);
    struct model_ask ask = {.method = "POST",
                            .path = j->mode == CROWD_STREAM ? "/v1/jobs?stream=true" : "/v1/jobs",
                            .key = plant_keys[j->tenant],
                            .idempotency = j->key[0] ? j->key : NULL,
                            .prefer = j->mode == CROWD_WAIT ? "wait=5" : NULL,
                            .body = view_of(j->body)};

    assert(p);
    j->status = 0;
    buf_reset(&j->answer);
    j->gateway = crowd_gateway(c);
    j->life = j->gateway ? sim_gateway_life(j->gateway) : 0;
    j->request = model_request_new(c->plant->world, crowd_web_of(j->gateway), &ask, &sink, j);
    *p = (struct patience){.job = j, .tries = j->tries};
    world_after(c->plant->world, PATIENCE_MS, patience_ends, free, p);
}

struct crowd_job *crowd_job_new(struct crowd *c, const struct crowd_wish *wish)
{
    struct crowd_job *j = calloc(1, sizeof *j);
    struct buf body;

    assert(j && c->count < CROWD_JOBS_MAX);
    buf_init(&body, 1 << 16);
    buf_printf(&body, "{\"workflow\":\"%s\",\"input\":%s%s}", wish->workflow, wish->input, wish->members ? wish->members : "");
    j->crowd = c;
    j->index = c->count;
    j->tenant = wish->tenant;
    snprintf(j->workflow, sizeof j->workflow, "%s", wish->workflow);
    snprintf(j->key, sizeof j->key, "%s", wish->key ? wish->key : "");
    j->body = buf_detach(&body, NULL);
    j->mode = wish->mode;
    j->watchers = wish->watchers;
    j->cancel_after_ms = wish->cancel_after_ms;
    j->repeat_after_ms = wish->watchers > 0 ? wish->repeat_after_ms : -1;
    j->peeks = wish->peeks;
    j->canceled_ms = -1;
    buf_init(&j->answer, CROWD_ANSWER_MAX);
    c->jobs[c->count++] = j;
    return j;
}

struct crowd_job *crowd_submit(struct crowd *c, const struct crowd_wish *wish)
{
    struct crowd_job *j = crowd_job_new(c, wish);

    world_trace(c->plant->world, "client %zu of %s submits %s %s", j->index, plant_tenants[j->tenant], j->key[0] ? j->key : "without a key",
                j->body);
    submit_go(j);
    return j;
}

/* --- all of them -------------------------------------------------------------------------------------------------------------------- */
struct crowd *crowd_new(struct plant *p, struct sim_gateway *const *gateways, size_t gateway_count)
{
    struct crowd *c = calloc(1, sizeof *c);

    assert(c && gateway_count > 0);
    c->plant = p;
    list_init(&c->errands);
    c->gateways = gateways;
    c->gateway_count = gateway_count;
    return c;
}

void crowd_free(struct crowd *c)
{
    crowd_errands_free(c);
    for (size_t i = 0; i < c->count; i++) {
        struct crowd_job *j = c->jobs[i];

        for (struct crowd_watch *w = j->first_watch, *next; w; w = next) {
            next = w->next;
            crowd_watch_free(w);
        }
        if (j->request) model_request_leave(j->request);
        if (j->final) buf_fini(&j->final->body);
        free(j->final);
        buf_fini(&j->answer);
        free(j->body);
        free(j);
    }
    for (size_t i = 0; i < PLANT_TENANTS; i++) buf_fini(&c->lists[i].body);
    free(c);
}

const struct crowd_get *crowd_list(const struct crowd *c, size_t tenant)
{
    return &c->lists[tenant];
}

void crowd_calm(struct crowd *c)
{
    c->is_calm = true;
}

bool crowd_is_done(const struct crowd *c)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct crowd_job *j = c->jobs[i];

        if (!j->is_settled) return false;
        if (j->is_accepted && j->repeat_after_ms >= 0 && !(j->has_repeated && j->repeated)) return false;
        if (j->is_accepted && j->cancel_after_ms >= 0 && !j->is_cancel_answered) return false;
        for (const struct crowd_watch *w = j->first_watch; w; w = w->next)
            if (!w->is_done) return false;
    }
    return true;
}

bool crowd_has_all(const struct crowd *c)
{
    return c->gets_open == 0;
}

size_t crowd_count(const struct crowd *c)
{
    return c->count;
}

struct crowd_job *crowd_job(const struct crowd *c, size_t index)
{
    return c->jobs[index];
}

struct crowd_job *crowd_find(const struct crowd *c, struct view id)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->jobs[i]->is_accepted && view_eq_str(id, c->jobs[i]->id)) return c->jobs[i];
    return NULL;
}

size_t crowd_resets(const struct crowd *c)
{
    size_t n = 0;

    for (size_t i = 0; i < c->count; i++)
        for (const struct crowd_watch *w = c->jobs[i]->first_watch; w; w = w->next) n += w->resets;
    return n;
}
