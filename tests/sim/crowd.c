/* Submitting clients. What they may conclude: 202 means accepted, 422 another payload came first, 503 and silence nothing: with a key they
 * try again, without one they do not know, and the judge looks into the log. */
#define _GNU_SOURCE /* memmem */
#include "tests/sim/crowd_priv.h"

#include <assert.h>

enum { ANSWER_MAX = 2 << 20, PATIENCE_MS = 12000, TRIES_MAX = 200 };

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

static struct model_web *web_of(struct sim_gateway *g)
{
    return g ? sim_gateway_web(g) : NULL;
}

/* --- small requests: cancel, get, retry, peek ------------------------------------------------------------------------------ */
struct errand {
    struct list_link link; /* in crowd->errands */
    struct model_request *request;
    struct crowd *crowd;
    struct crowd_job *job; /* NULL: of no job */
    void (*done)(struct errand *e);
    const char *method, *what; /* "", "/cancel", "/retry" */
    char id[40]; /* "": the list of all */
    size_t tenant;
    struct crowd_get *into; /* NULL: its own */
    struct crowd_get own;
    struct pair *pair;
    size_t side;
    unsigned tries;
};

struct pair { /* two questions that belong together */
    int status[2];
    char ids[2][40];
    struct buf body[2];
    size_t answers, refs;
};

static void errand_free(struct errand *e)
{
    struct pair *p = e->pair;

    list_remove(&e->crowd->errands, &e->link);
    if (e->request) model_request_leave(e->request);
    if (p && --p->refs == 0) {
        buf_fini(&p->body[0]);
        buf_fini(&p->body[1]);
        free(p);
    }
    buf_fini(&e->own.body);
    free(e);
}

static void errand_head(void *arg, const struct model_answer *a)
{
    ((struct errand *)arg)->into->status = a->status;
}

static void errand_body(void *arg, struct view bytes)
{
    struct crowd_get *g = ((struct errand *)arg)->into;

    buf_put_view(&g->body, bytes);
    assert(!g->body.failed);
}

static void errand_end(void *arg, bool is_whole)
{
    struct errand *e = arg;

    e->request = NULL;
    if (!is_whole) e->into->status = 0;
    e->done(e);
}

static void errand_go(void *errand)
{
    static const struct model_client_sink sink = {.on_head = errand_head, .on_body = errand_body, .on_end = errand_end};
    struct errand *e = errand;
    struct crowd *c = e->crowd;
    char path[96];
    struct model_ask ask = {.method = e->method, .path = path, .key = plant_keys[e->tenant]};

    snprintf(path, sizeof path, "/v1/jobs%s%s%s", e->id[0] ? "/" : "?limit=500", e->id, e->what);
    e->into->status = 0;
    buf_reset(&e->into->body);
    e->request = model_request_new(c->plant->world, web_of(crowd_gateway(c)), &ask, &sink, e);
}

static struct errand *errand_of(struct crowd *c, const char *method, const char *what, void (*done)(struct errand *e))
{
    struct errand *e = calloc(1, sizeof *e);

    assert(e);
    e->crowd = c;
    e->method = method;
    e->what = what;
    e->done = done;
    buf_init(&e->own.body, ANSWER_MAX);
    e->into = &e->own;
    list_push(&c->errands, &e->link);
    return e;
}

static struct errand *errand_new(struct crowd_job *j, const char *method, const char *what, void (*done)(struct errand *e))
{
    struct errand *e = errand_of(j->crowd, method, what, done);

    e->job = j;
    e->tenant = j->tenant;
    snprintf(e->id, sizeof e->id, "%s", j->id);
    return e;
}

/* Not now: again. False: it was an answer. */
static bool errand_again(struct errand *e)
{
    int status = e->into->status;

    if (status != 503 && status != 0) return false;
    if (++e->tries > TRIES_MAX) {
        plant_blame(e->crowd->plant, "job %s: %s%s was never answered but by 503", e->id, e->method, e->what);
        return false;
    }
    crowd_after(e->crowd, 200 + crowd_chance(e->crowd, 600), errand_go, e);
    return true;
}

/* --- cancel -------------------------------------------------------------------------------------------------------------------- */
static void cancel_done(struct errand *e)
{
    struct crowd_job *j = e->job;

    if (errand_again(e)) return;
    j->is_cancel_answered = true;
    if (e->into->status == 202) j->canceled_ms = world_now_ms(j->crowd->plant->world);
    if (e->into->status != 202 && e->into->status != 200)
        plant_blame(j->crowd->plant, "A: job %s: its cancel was answered %d", j->id, e->into->status);
    errand_free(e);
}

static void cancel_go(void *arg)
{
    struct crowd_job *j = arg;

    j->has_asked_cancel = true;
    errand_go(errand_new(j, "POST", "/cancel", cancel_done));
}

/* --- pairs ------------------------------------------------------------------------------------------------------------------- */
static void pair_new(struct errand *a, struct errand *b)
{
    struct pair *p = calloc(1, sizeof *p);

    assert(p);
    a->pair = b->pair = p;
    p->refs = 2;
    b->side = 1;
    for (size_t i = 0; i < 2; i++) buf_init(&p->body[i], ANSWER_MAX);
}

/* Keeps the answer; the pair when both are in. */
static struct pair *pair_put(struct errand *e)
{
    struct pair *p = e->pair;

    p->status[e->side] = e->into->status;
    memcpy(p->ids[e->side], e->id, sizeof e->id);
    buf_put_view(&p->body[e->side], buf_view(&e->into->body));
    return ++p->answers == 2 ? p : NULL;
}

/* --- a foreigner ----------------------------------------------------------------------------------------------------------------- */
static void blank(struct buf *body, const char *id)
{
    size_t n = strlen(id);

    for (size_t i = 0; i + n <= body->len; i++)
        if (memcmp(body->data + i, id, n) == 0) memset(body->data + i, '#', n);
}

/* A foreign id and one that nobody ever had must look alike. */
static void peek_done(struct errand *e)
{
    struct crowd_job *j = e->job;
    int status = e->into->status;
    /* A cancel while Redis is away is taken blindly: the home looks at the tenant in the record. */
    bool is_blind_cancel = status == 202 && strcmp(e->what, "/cancel") == 0;
    struct pair *p;

    if (status != 404 && status != 503 && status != 0 && !is_blind_cancel)
        plant_blame(j->crowd->plant, "D: job %s of %s: %s%s of %s by %s was answered %d", j->id, plant_tenants[j->tenant], e->method,
                    e->what, e->side ? "an unknown id" : "it", plant_tenants[e->tenant], status);
    p = pair_put(e);
    if (p && p->status[0] == 404 && p->status[1] == 404) {
        for (size_t i = 0; i < 2; i++) blank(&p->body[i], p->ids[i]);
        if (!view_eq(buf_view(&p->body[0]), buf_view(&p->body[1])))
            plant_blame(j->crowd->plant, "D: job %s: a foreign 404 differs from an unknown one", j->id);
    }
    errand_free(e);
}

static void peek_go(void *arg)
{
    static const struct {
        const char *method, *what;
    } tries[] = {{"GET", ""}, {"GET", "/events"}, {"POST", "/cancel"}, {"POST", "/retry"}};
    struct crowd_job *j = arg;
    size_t which = (size_t)crowd_chance(j->crowd, 4);
    struct errand *a = errand_new(j, tries[which].method, tries[which].what, peek_done);
    struct errand *b = errand_new(j, tries[which].method, tries[which].what, peek_done);

    pair_new(a, b);
    a->tenant = b->tenant = (j->tenant + 1) % PLANT_TENANTS;
    b->id[34] = b->id[34] == 'f' ? '0' : 'f'; /* the same home, an id that nobody had */
    errand_go(a);
    errand_go(b);
}

/* --- repeats -------------------------------------------------------------------------------------------------------------------- */
static void accept(struct crowd_job *j, struct view id);

static bool read_id(const struct buf *body, const char *member, char ret[40])
{
    struct view raw;
    struct buf id;
    bool is_read;

    buf_init(&id, 64);
    is_read = json_raw_member(buf_view(body), view_of(member), &raw) && json_raw_string(raw, &id) && view_copy(buf_view(&id), ret, 40);
    buf_fini(&id);
    return is_read;
}

static struct crowd_job *job_new(struct crowd *c, const struct crowd_wish *wish);

static void repeat_done(struct errand *e)
{
    struct crowd_job *j = e->job;
    struct crowd *c = j->crowd;
    char ids[2][40] = {"", ""};
    struct pair *p;

    if (errand_again(e)) return;
    if (e->into->status != 202) plant_blame(c->plant, "job %s: its retry was answered %d", j->id, e->into->status);
    p = pair_put(e);
    if (p) {
        const struct crowd_wish wish = {.tenant = j->tenant, .workflow = j->workflow, .input = "null", .watchers = 1, .cancel_after_ms = -1,
                                        .repeat_after_ms = -1};

        (void)read_id(&p->body[0], "id", ids[0]);
        (void)read_id(&p->body[1], "id", ids[1]);
        if (p->status[0] == 202 && p->status[1] == 202 && strcmp(ids[0], ids[1]) != 0)
            plant_blame(c->plant, "A: job %s: two retries at once are two jobs, %s and %s", j->id, ids[0], ids[1]);
        if (p->status[0] == 202 && c->count < CROWD_JOBS_MAX) {
            j->repeated = job_new(c, &wish);
            j->repeated->repeat_of = j;
            accept(j->repeated, view_of(ids[0]));
            j->repeated->is_settled = true;
        }
    }
    errand_free(e);
}

static void repeat_go(void *arg)
{
    struct crowd_job *j = arg;
    struct errand *a = errand_new(j, "POST", "/retry", repeat_done), *b = errand_new(j, "POST", "/retry", repeat_done);

    pair_new(a, b);
    errand_go(a);
    errand_go(b);
}

void crowd_on_end(struct crowd_job *j)
{
    if (j->repeat_after_ms < 0 || j->has_repeated) return;
    j->has_repeated = true;
    crowd_after(j->crowd, j->repeat_after_ms, repeat_go, j);
}

/* --- submitting -------------------------------------------------------------------------------------------------------------------- */
static void submit_go(void *job);

static void accept(struct crowd_job *j, struct view id)
{
    struct crowd *c = j->crowd;

    if (j->is_accepted) return;
    if (j->id[0] && !view_eq_str(id, j->id)) plant_blame(c->plant, "A: job %s is told as %.*s now", j->id, (int)id.len, id.ptr);
    j->is_accepted = true;
    j->accepted_ms = world_now_ms(c->plant->world);
    if (!view_copy(id, j->id, sizeof j->id)) assert(!"an id that is too long");
    for (unsigned i = 0; i < j->watchers; i++) crowd_after(c, crowd_chance(c, 3000), crowd_watch_connect, crowd_watch_new(j));
    if (j->cancel_after_ms >= 0) crowd_after(c, j->cancel_after_ms, cancel_go, j);
    if (j->peeks)
        for (int i = 0; i < 3; i++) crowd_after(c, crowd_chance(c, 5000), peek_go, j);
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
    accept(j, view_make(id.ptr + 9, id.len - 9));
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
    if (j->status == 503 && read_id(&j->answer, "job_id", id) && !j->id[0]) memcpy(j->id, id, sizeof id);
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
    if ((j->status == 202 || (j->status == 200 && j->mode == CROWD_WAIT)) && read_id(&j->answer, "id", id)) {
        accept(j, view_of(id));
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
    j->request = model_request_new(c->plant->world, web_of(j->gateway), &ask, &sink, j);
    *p = (struct patience){.job = j, .tries = j->tries};
    world_after(c->plant->world, PATIENCE_MS, patience_ends, free, p);
}

static struct crowd_job *job_new(struct crowd *c, const struct crowd_wish *wish)
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
    buf_init(&j->answer, ANSWER_MAX);
    c->jobs[c->count++] = j;
    return j;
}

struct crowd_job *crowd_submit(struct crowd *c, const struct crowd_wish *wish)
{
    struct crowd_job *j = job_new(c, wish);

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
    struct list_link *k;

    while ((k = list_first(&c->errands)) != NULL) errand_free(LIST_ITEM(k, struct errand, link));
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

static void get_done(struct errand *e)
{
    if (errand_again(e)) return;
    e->into->is_done = true;
    e->crowd->gets_open--;
    errand_free(e);
}

void crowd_ask_all(struct crowd *c)
{
    for (size_t i = 0; i < PLANT_TENANTS; i++) {
        struct errand *e = errand_of(c, "GET", "", get_done);

        buf_init(&c->lists[i].body, ANSWER_MAX);
        e->tenant = i;
        e->into = &c->lists[i];
        c->gets_open++;
        errand_go(e);
    }
    for (size_t i = 0; i < c->count; i++) {
        struct crowd_job *j = c->jobs[i];
        struct errand *e;

        if (!j->is_accepted) continue;
        j->final = calloc(1, sizeof *j->final);
        assert(j->final);
        buf_init(&j->final->body, ANSWER_MAX);
        e = errand_new(j, "GET", "", get_done);
        e->into = j->final;
        c->gets_open++;
        errand_go(e);
    }
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
