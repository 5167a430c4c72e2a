/* A watcher: an SSE or NDJSON client with a cursor, which leaves and comes back with its last id. It judges what comes as a strict
 * reader of promise B would: every event once, in order, nothing silent. The parsers here are its own. */
#include "tests/sim/crowd_priv.h"

#include <assert.h>

enum { FRAME_MAX = 1 << 20, LOST_MS = 20000 };

struct crowd_text { /* what the deltas of one streaming step (or item) say so far */
    struct crowd_text *next;
    char step[STEP_ID_MAX];
    int64_t item, attempt;
    bool is_whole; /* seen from its first piece on */
    struct buf text;
};

static void blame(struct crowd_watch *w, const char *what, const char *detail)
{
    plant_blame(w->job->crowd->plant, "B: job %s: watcher of %s at %llu-%llu: %s %s", w->job->id, w->is_ndjson ? "ndjson" : "sse",
                (unsigned long long)w->cursor.epoch, (unsigned long long)w->cursor.seq, what, detail);
}

/* --- text of streaming steps --------------------------------------------------------------------------------------------- */
static struct crowd_text *text_of(struct crowd_watch *w, struct view step, int64_t item)
{
    struct crowd_text *t = w->texts;

    while (t && !(view_eq_str(step, t->step) && t->item == item)) t = t->next;
    if (t) return t;
    t = calloc(1, sizeof *t);
    must(t && view_copy(step, t->step, sizeof t->step));
    t->item = item;
    buf_init(&t->text, FRAME_MAX);
    t->next = w->texts;
    return w->texts = t;
}

static void texts_free(struct crowd_watch *w)
{
    for (struct crowd_text *t = w->texts, *next; t; t = next) {
        next = t->next;
        buf_fini(&t->text);
        free(t);
    }
    w->texts = NULL;
}

static bool is_streamed(struct view step)
{
    return view_eq_str(step, "first") || view_eq_str(step, "item") || view_eq_str(step, "ask");
}

static int64_t number(struct view object, const char *name, int64_t absent)
{
    struct view raw;
    int64_t n;

    return json_raw_member(object, view_of(name), &raw) && view_i64(raw, &n) ? n : absent;
}

static bool text(struct view object, const char *name, struct buf *out)
{
    struct view raw;

    buf_reset(out);
    return json_raw_member(object, view_of(name), &raw) && json_raw_kind(raw) == JSON_RAW_STRING && json_raw_string(raw, out);
}

static void take_delta(struct crowd_watch *w, struct crowd_text *t, int64_t attempt, struct view piece)
{
    if (attempt < t->attempt) return; /* void */
    if (attempt > t->attempt) {
        t->attempt = attempt;
        buf_reset(&t->text);
        t->is_whole = !w->has_skipped;
    }
    buf_put_view(&t->text, piece);
}

static void take_step(struct crowd_watch *w, enum event_type type, struct view data)
{
    struct buf step, piece;
    struct crowd_text *t;
    int64_t attempt = number(data, "attempt", 0);

    buf_init(&step, STEP_ID_MAX);
    buf_init(&piece, FRAME_MAX);
    if (text(data, "step", &step) && is_streamed(buf_view(&step))) {
        t = text_of(w, buf_view(&step), number(data, "item", -1));
        if (type == EVENT_STEP_STARTED && attempt > t->attempt) {
            t->attempt = attempt;
            buf_reset(&t->text);
            t->is_whole = true;
        }
        if (type == EVENT_STEP_DELTA && text(data, "text", &piece)) take_delta(w, t, attempt, buf_view(&piece));
        if (type == EVENT_STEP_COMPLETED && t->is_whole && text(data, "output", &piece) &&
            !view_eq(buf_view(&piece), buf_view(&t->text)))
            blame(w, "the deltas do not add up to the output of step", t->step);
    }
    buf_fini(&step);
    buf_fini(&piece);
}

/* --- events ------------------------------------------------------------------------------------------------------------------ */
static void note(struct crowd_watch *w, struct event_id id, enum event_type type, struct view data)
{
    world_trace(w->job->crowd->plant->world, "a watcher of %s sees %llu-%llu %.*s", w->job->id, (unsigned long long)id.epoch,
                (unsigned long long)id.seq, (int)data.len, data.ptr);
    if (w->seen_count == CROWD_SEEN_MAX) {
        blame(w, "more events than anybody wrote", "");
        return;
    }
    if (!w->seen) w->seen = calloc(CROWD_SEEN_MAX, sizeof *w->seen);
    assert(w->seen);
    w->seen[w->seen_count++] = (struct crowd_seen){.id = id, .type = type, .data = view_dup(data), .len = data.len};
}

static void take_reset(struct crowd_watch *w)
{
    if (w->wants_snapshot) blame(w, "two resets, and no snapshot between them", "");
    w->wants_snapshot = true;
    w->resets++;
    note(w, (struct event_id){0}, EVENT_RESET, VIEW_LIT("{}"));
}

static bool judge_order(struct crowd_watch *w, struct event_id id, enum event_type type)
{
    if (w->wants_snapshot && type != EVENT_JOB_SNAPSHOT) {
        blame(w, "a reset, and no snapshot behind it but", event_type_name(type));
        return false;
    }
    if (w->wants_snapshot) return true;
    if (id.seq != w->cursor.seq + 1) {
        blame(w, id.seq <= w->cursor.seq ? "an event again:" : "a hole before", event_type_name(type));
        return false;
    }
    if (id.epoch < w->cursor.epoch) blame(w, "an epoch that goes back with", event_type_name(type));
    return true;
}

static void take_event(struct crowd_watch *w, struct event_id id, enum event_type type, struct view data)
{
    struct buf job;

    if (type == EVENT_RESET) { /* also behind the end, when Redis lost it: then everything comes again, and the same end */
        w->has_end = false;
        take_reset(w);
        return;
    }
    if (w->has_end) {
        blame(w, "behind the end came", event_type_name(type));
        return;
    }
    (void)judge_order(w, id, type);
    w->wants_snapshot = false;
    if (number(data, "seq", -1) != (int64_t)id.seq) blame(w, "data of another seq under", event_type_name(type));
    buf_init(&job, 64);
    if (!text(data, "job_id", &job) || !view_eq_str(buf_view(&job), w->job->id)) blame(w, "an event of another job:", event_type_name(type));
    buf_fini(&job);
    w->cursor = id;
    note(w, id, type, data);
    if (type == EVENT_JOB_SNAPSHOT) { /* after a reset, or where the stream itself begins anew */
        texts_free(w);
        w->has_skipped = true;
    }
    if (type >= EVENT_STEP_STARTED && type <= EVENT_STEP_SKIPPED) take_step(w, type, data);
    if (event_type_is_terminal(type)) {
        if (w->end.seq && (w->end.seq != id.seq || w->end.epoch != id.epoch)) blame(w, "another end than before:", event_type_name(type));
        w->has_end = true;
        w->end = id;
        crowd_on_end(w->job);
    }
}

/* --- the wire ------------------------------------------------------------------------------------------------------------------ */
static void take_named(struct crowd_watch *w, struct view id, struct view name, struct view data)
{
    enum event_type type;
    struct event_id at = {0, 0};

    if (!event_type_parse(name, &type)) {
        blame(w, "an event of no known type", "");
    } else if ((id.len > 0 && !event_id_parse(id, &at)) || (id.len == 0) != (type == EVENT_RESET)) {
        blame(w, "a malformed or missing id at", event_type_name(type));
    } else {
        take_event(w, at, type, data);
    }
}

static void take_sse(struct crowd_watch *w, struct view frame)
{
    struct view line, rest = frame, id = VIEW_NONE, name = VIEW_NONE, data = VIEW_NONE;

    while (rest.len > 0) {
        if (!view_cut(rest, '\n', &line, &rest)) {
            line = rest;
            rest = VIEW_NONE;
        }
        if (view_starts(line, "id:")) id = view_trim(view_make(line.ptr + 3, line.len - 3));
        if (view_starts(line, "event:")) name = view_trim(view_make(line.ptr + 6, line.len - 6));
        if (view_starts(line, "data:")) data = view_trim(view_make(line.ptr + 5, line.len - 5));
    }
    if (data.ptr) take_named(w, id, name, data);
}

static void take_ndjson(struct crowd_watch *w, struct view line)
{
    struct buf id, name;
    struct view object = view_trim(line);

    if (object.len == 0) return;
    buf_init(&id, 64);
    buf_init(&name, 64);
    (void)text(object, "id", &id);
    (void)text(object, "type", &name);
    take_named(w, buf_view(&id), buf_view(&name), object);
    buf_fini(&id);
    buf_fini(&name);
}

void crowd_watch_body(struct crowd_watch *w, struct view bytes)
{
    const char *mark = w->is_ndjson ? "\n" : "\n\n";
    size_t len = strlen(mark), from = 0;

    if (w->status != 200) return;
    buf_put_view(&w->bytes, bytes);
    assert(!w->bytes.failed);
    for (size_t i = 0; i + len <= w->bytes.len; i++) {
        if (memcmp(w->bytes.data + i, mark, len) != 0) continue;
        if (w->is_ndjson) take_ndjson(w, view_make(w->bytes.data + from, i - from));
        if (!w->is_ndjson) take_sse(w, view_make(w->bytes.data + from, i - from));
        from = i + len;
        i = from - 1;
    }
    buf_consume(&w->bytes, from);
}

/* --- connections ------------------------------------------------------------------------------------------------------------------ */
static void come_back(struct crowd_watch *w, int64_t delay_ms)
{
    w->request = NULL;
    w->is_open = false;
    if (!w->is_done) crowd_after(w->job->crowd, delay_ms, crowd_watch_connect, w);
}

static void on_head(void *arg, const struct model_answer *a)
{
    struct crowd_watch *w = arg;
    char status[16];

    w->status = a->status;
    if (a->status == 200 || a->status == 503 || a->status == 0) return;
    if (a->status == 204) {
        if (!w->has_end) blame(w, "204, and the end was not seen", "");
        w->is_done = true;
        return;
    }
    snprintf(status, sizeof status, "%d", a->status);
    blame(w, "was answered", status);
}

void crowd_watch_end(struct crowd_watch *w, bool is_whole)
{
    struct crowd *c = w->job->crowd;

    if (w->status == 200 && is_whole && !w->has_end && w->life == sim_gateway_life(w->gateway)) blame(w, "the stream ended without an end", "");
    if (w->has_end && (c->is_calm || crowd_chance(c, 100) < 60)) w->is_done = true;
    come_back(w, w->status == 200 ? 100 + crowd_chance(c, 200) : 200 + crowd_chance(c, 400));
}

static void on_body(void *arg, struct view bytes)
{
    crowd_watch_body(arg, bytes);
}

static void on_end(void *arg, bool is_whole)
{
    crowd_watch_end(arg, is_whole);
}

struct stay {
    struct crowd_watch *w;
    size_t session;
    bool is_forced;
};

static void leave(void *arg)
{
    struct stay *s = arg;
    struct crowd_watch *w = s->w;

    if (w->request && w->sessions == s->session && (s->is_forced || !w->job->crowd->is_calm)) {
        model_request_leave(w->request);
        come_back(w, crowd_chance(w->job->crowd, 1500));
    }
    free(s);
}

/* Goes after a while; at the latest when a broken gateway has said nothing for long. */
static void stay(struct crowd_watch *w)
{
    struct crowd *c = w->job->crowd;
    struct stay *s = calloc(1, sizeof *s);
    bool is_short = crowd_chance(c, 100) < 60;

    assert(s);
    *s = (struct stay){.w = w, .session = w->sessions, .is_forced = !is_short};
    world_after(c->plant->world, is_short ? 20 + crowd_chance(c, 3000) : LOST_MS, leave, free, s);
}

void crowd_watch_connect(void *watch)
{
    static const struct model_client_sink sink = {.on_head = on_head, .on_body = on_body, .on_end = on_end};
    struct crowd_watch *w = watch;
    struct crowd *c = w->job->crowd;
    char path[160], last[EVENT_ID_TEXT] = "";
    bool has_cursor = w->cursor.seq > 0, by_query = crowd_chance(c, 2) == 0;
    struct model_ask ask = {.method = "GET", .path = path, .key = plant_keys[w->job->tenant]};

    if (w->request || w->is_done) return;
    buf_reset(&w->bytes);
    w->gateway = crowd_gateway(c);
    w->life = w->gateway ? sim_gateway_life(w->gateway) : 0;
    w->wants_snapshot = false;
    w->sessions++;
    if (has_cursor) event_id_format(w->cursor, last);
    snprintf(path, sizeof path, "/v1/jobs/%s/events?format=%s%s%s", w->job->id, w->is_ndjson ? "ndjson" : "sse",
             has_cursor && by_query ? "&after=" : "", has_cursor && by_query ? last : "");
    if (has_cursor && !by_query) ask.last_event_id = last;
    if (w->is_slow && !c->is_calm) {
        ask.window = 1024;
        ask.read_ms = 50 + crowd_chance(c, 400);
    }
    w->status = 0;
    w->is_open = true;
    world_trace(c->plant->world, "a watcher of %s comes to %s with %s", w->job->id, w->gateway ? sim_gateway_name(w->gateway) : "nobody",
                has_cursor ? last : "nothing");
    w->request = model_request_new(c->plant->world, w->gateway ? sim_gateway_web(w->gateway) : NULL, &ask, &sink, w);
    stay(w);
}

void crowd_watch_take_over(struct crowd_watch *w)
{
    w->request = w->job->request;
    w->gateway = w->job->gateway;
    w->life = w->job->life;
    w->is_open = true;
    w->status = 200;
    w->sessions++;
    stay(w);
}

struct crowd_watch *crowd_watch_new(struct crowd_job *j)
{
    struct crowd_watch *w = calloc(1, sizeof *w);

    assert(w);
    w->job = j;
    w->is_ndjson = crowd_chance(j->crowd, 3) == 0;
    w->is_slow = crowd_chance(j->crowd, 5) == 0;
    buf_init(&w->bytes, 4 << 20);
    w->next = j->first_watch;
    return j->first_watch = w;
}

void crowd_watch_free(struct crowd_watch *w)
{
    if (w->request) model_request_leave(w->request);
    for (size_t i = 0; i < w->seen_count; i++) free(w->seen[i].data);
    free(w->seen);
    texts_free(w);
    buf_fini(&w->bytes);
    free(w);
}
