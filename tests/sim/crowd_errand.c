/* What clients ask besides submitting and watching: a cancel, a GET, a retry twice at once, a foreigner's tries. An errand asks again until it
 * has an answer that is one; two that belong together are compared when both have theirs. */
#include "tests/sim/crowd_priv.h"

#include <assert.h>

enum { TRIES_MAX = 200 };

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
    e->request = model_request_new(c->plant->world, crowd_web_of(crowd_gateway(c)), &ask, &sink, e);
}

static struct errand *errand_of(struct crowd *c, const char *method, const char *what, void (*done)(struct errand *e))
{
    struct errand *e = calloc(1, sizeof *e);

    assert(e);
    e->crowd = c;
    e->method = method;
    e->what = what;
    e->done = done;
    buf_init(&e->own.body, CROWD_ANSWER_MAX);
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

void crowd_cancel_go(void *arg)
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
    for (size_t i = 0; i < 2; i++) buf_init(&p->body[i], CROWD_ANSWER_MAX);
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

void crowd_peek_go(void *arg)
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

        (void)crowd_read_id(&p->body[0], "id", ids[0]);
        (void)crowd_read_id(&p->body[1], "id", ids[1]);
        if (p->status[0] == 202 && p->status[1] == 202 && strcmp(ids[0], ids[1]) != 0)
            plant_blame(c->plant, "A: job %s: two retries at once are two jobs, %s and %s", j->id, ids[0], ids[1]);
        if (p->status[0] == 202 && c->count < CROWD_JOBS_MAX) {
            j->repeated = crowd_job_new(c, &wish);
            j->repeated->repeat_of = j;
            crowd_accept(j->repeated, view_of(ids[0]));
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

/* --- when all is over ----------------------------------------------------------------------------------------------------------- */
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

        buf_init(&c->lists[i].body, CROWD_ANSWER_MAX);
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
        buf_init(&j->final->body, CROWD_ANSWER_MAX);
        e = errand_new(j, "GET", "", get_done);
        e->into = j->final;
        c->gets_open++;
        errand_go(e);
    }
}

void crowd_errands_free(struct crowd *c)
{
    struct list_link *k;

    while ((k = list_first(&c->errands)) != NULL) errand_free(LIST_ITEM(k, struct errand, link));
}
