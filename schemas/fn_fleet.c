/* The calls of the fleet as a whole: heartbeats, Redis' boot id, what is built, budgets. */
#include "schemas/fn_priv.h"

#include <assert.h>

/* --- heartbeats -------------------------------------------------------------------------------- */

static void fn_decode_beat(const struct fn_call *c, const struct err *e, const struct reply *r)
{
    struct err own;
    struct view *built = NULL;
    if (!e && !fn_expect(r->kind == REPLY_ARRAY && r->count == c->items, "beat", &own)) e = &own;
    if (!e && c->items) {
        built = calloc(c->items, sizeof *built);
        if (!built) {
            err_set(&own, ERR_NOMEM, "redis beat: out of memory");
            e = &own;
        }
    }
    for (size_t i = 0; !e && i < c->items; i++) built[i] = reply_str(reply_at(r, i));
    c->cb.beat(c->arg, e, built, e ? 0 : c->items);
    free(built);
}

struct fn_home_key {
    char text[24];
};

/* A worker may own every home: this call alone gathers on the heap. */
void fn_beat(struct fn *f, const struct fn_beat *b, fn_beat_cb *cb, void *arg)
{
    assert(b->home_count <= JOB_ID_PARTITIONS_MAX);
    struct view *argv = calloc(b->home_count + 6, sizeof *argv);
    struct fn_home_key *keys = calloc(b->home_count + 1, sizeof *keys);
    char count[24], ttl[24], beat[FN_KEY_MAX];
    struct err e;
    if (!argv || !keys) {
        err_set(&e, ERR_NOMEM, "redis beat: out of memory");
        cb(arg, &e, NULL, 0);
        goto out;
    }
    snprintf(count, sizeof count, "%zu", b->home_count + 1);
    snprintf(ttl, sizeof ttl, "%lld", (long long)b->ttl_ms);
    argv[0] = VIEW_LIT("FCALL");
    argv[1] = VIEW_LIT("sluice_v1_beat");
    argv[2] = view_of(count);
    argv[3] = fn_key(FN_KEY_BEAT, b->incarnation, beat);
    for (size_t i = 0; i < b->home_count; i++) {
        snprintf(keys[i].text, sizeof keys[i].text, "built:{%u}", (unsigned)b->homes[i]);
        argv[4 + i] = view_of(keys[i].text);
    }
    argv[4 + b->home_count] = b->info.ptr ? b->info : VIEW_LIT("{}");
    argv[5 + b->home_count] = view_of(ttl);
    fn_start(f, argv, b->home_count + 6,
             &(struct fn_ask){
                 .decode = fn_decode_beat, .cb = {.beat = cb}, .arg = arg, .items = b->home_count});
out:
    free(keys);
    free(argv);
}

static void fn_args_told(struct fn_args *a, const char *name, uint32_t home)
{
    char digits[BUF_DECIMAL];
    fn_args_function(a, name, "1");
    fn_arg_key(a, FN_KEY_TOLD, view_make(digits, buf_decimal(home, digits)));
}

void fn_tell(struct fn *f, uint32_t home, int64_t age_ms, fn_done_cb *cb, void *arg)
{
    struct fn_args a;
    fn_args_told(&a, "sluice_v1_tell", home);
    fn_arg_int(&a, age_ms);
    fn_start_args(f, &a,
                  &(struct fn_ask){.decode = fn_decode_done, .cb = {.done = cb}, .arg = arg});
}

void fn_told(struct fn *f, uint32_t home, fn_done_cb *cb, void *arg)
{
    struct fn_args a;
    fn_args_told(&a, "sluice_v1_told", home);
    fn_start_args(f, &a,
                  &(struct fn_ask){.decode = fn_decode_done, .cb = {.done = cb}, .arg = arg});
}

void fn_unbeat(struct fn *f, struct view incarnation, fn_done_cb *cb, void *arg)
{
    struct fn_args a;
    fn_args_function(&a, "sluice_v1_unbeat", "1");
    fn_arg_key(&a, FN_KEY_BEAT, incarnation);
    fn_start_args(f, &a,
                  &(struct fn_ask){.decode = fn_decode_done, .cb = {.done = cb}, .arg = arg});
}

static void fn_decode_alive(const struct fn_call *c, const struct err *e, const struct reply *r)
{
    struct err own;
    if (!e && !fn_expect(r->kind == REPLY_INT, "exists", &own)) e = &own;
    c->cb.done(c->arg, e, e ? VIEW_NONE : r->num ? VIEW_LIT("alive") : VIEW_LIT("gone"));
}

void fn_alive(struct fn *f, struct view incarnation, fn_done_cb *cb, void *arg)
{
    char key[FN_KEY_MAX];
    const struct view argv[] = {VIEW_LIT("EXISTS"), fn_key(FN_KEY_BEAT, incarnation, key)};
    fn_start(f, argv, 2,
             &(struct fn_ask){.decode = fn_decode_alive, .cb = {.done = cb}, .arg = arg});
}

/* --- boot id ------------------------------------------------------------------------------------ */

static struct view fn_info_member(struct view info, const char *name)
{
    struct view line, rest = info;
    while (rest.len) {
        if (!view_cut(rest, '\n', &line, &rest)) line = rest, rest = VIEW_NONE;
        struct view key, value;
        if (view_cut(view_trim(line), ':', &key, &value) && view_eq_str(key, name)) return value;
    }
    return VIEW_NONE;
}

static void fn_decode_boot(const struct fn_call *c, const struct err *e, const struct reply *r)
{
    struct err own;
    struct view id = e ? VIEW_NONE : fn_info_member(reply_str(r), "run_id");
    if (!e && !fn_expect(id.len > 0, "INFO server", &own)) e = &own;
    c->cb.done(c->arg, e, e ? VIEW_NONE : id);
}

void fn_boot(struct fn *f, fn_done_cb *cb, void *arg)
{
    const struct view argv[] = {VIEW_LIT("INFO"), VIEW_LIT("server")};
    fn_start(f, argv, 2,
             &(struct fn_ask){.decode = fn_decode_boot, .cb = {.done = cb}, .arg = arg});
}

static void fn_build(struct fn *f, const char *function, uint32_t home, const struct view args[2],
                     const struct fn_ask *ask)
{
    struct fn_args a;
    assert(args[1].len > 0 && args[1].len <= FN_TOKEN_MAX);
    fn_args_function(&a, function, "1");
    fn_arg_home(&a, home);
    fn_arg(&a, args[0]);
    fn_arg(&a, args[1]);
    fn_start_args(f, &a, ask);
}

void fn_build_begin(struct fn *f, uint32_t home, struct view boot, struct view token,
                    fn_done_cb *cb, void *arg)
{
    fn_build(f, "sluice_v1_build_begin", home, (const struct view[]){boot, token},
             &(struct fn_ask){.decode = fn_decode_done, .cb = {.done = cb}, .arg = arg});
}

void fn_build_end(struct fn *f, uint32_t home, struct view boot, struct view token, fn_done_cb *cb,
                  void *arg)
{
    fn_build(f, "sluice_v1_build_end", home, (const struct view[]){boot, token},
             &(struct fn_ask){.decode = fn_decode_done, .cb = {.done = cb}, .arg = arg});
}
