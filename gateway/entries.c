/* XRANGE out, entries in. Nothing is believed about what comes back: an element that is not [id,
 * [t, .., d, ..]] is no entry. */
#include "gateway/entries.h"

#include "schemas/fn.h"

enum { ENTRY_FIELDS = 4 };

void entries_ask(struct redis_port redis, const struct job_id *job, struct event_id after,
                 size_t count, redis_reply_fn *fn, void *arg)
{
    char key[FN_KEY_MAX], from[EVENT_ID_REDIS + 1] = "(", number[24];
    int len = snprintf(number, sizeof number, "%zu", count);
    event_id_format_redis(after, from + 1);
    struct view argv[] = {VIEW_LIT("XRANGE"), fn_key(FN_KEY_EVENTS, view_of(job->text), key),
                          view_of(from),      VIEW_LIT("+"),
                          VIEW_LIT("COUNT"),  view_make(number, (size_t)len)};
    redis.call(redis.self, argv, sizeof argv / sizeof *argv, fn, arg);
}

void entries_ask_newest(struct redis_port redis, const struct job_id *job, redis_reply_fn *fn,
                        void *arg)
{
    char key[FN_KEY_MAX];
    struct view argv[] = {VIEW_LIT("XREVRANGE"), fn_key(FN_KEY_EVENTS, view_of(job->text), key),
                          VIEW_LIT("+"),         VIEW_LIT("-"),
                          VIEW_LIT("COUNT"),     VIEW_LIT("1")};
    redis.call(redis.self, argv, sizeof argv / sizeof *argv, fn, arg);
}

bool entry_read(const struct reply *r, size_t i, struct entry *ret)
{
    const struct reply *item = reply_at(r, i), *fields = reply_at(item, 1);
    struct entry e = {.name = reply_str(reply_at(fields, 1)),
                      .data = reply_str(reply_at(fields, 3))};
    if (fields->kind != REPLY_ARRAY || fields->count < ENTRY_FIELDS) return false;
    if (!view_eq_str(reply_str(reply_at(fields, 0)), "t") ||
        !view_eq_str(reply_str(reply_at(fields, 2)), "d"))
        return false;
    if (!e.name.ptr || e.data.len < 2 || e.data.ptr[0] != '{') return false;
    if (!event_id_parse_redis(reply_str(reply_at(item, 0)), &e.id)) return false;
    if (!event_type_parse(e.name, &e.type)) e.type = EVENT_TYPE_COUNT;
    *ret = e;
    return true;
}

bool entries_are(const struct reply *r, const struct err *e)
{
    return !e && r && r->kind == REPLY_ARRAY;
}

int event_id_compare(struct event_id a, struct event_id b)
{
    if (a.epoch != b.epoch) return a.epoch < b.epoch ? -1 : 1;
    return a.seq == b.seq ? 0 : a.seq < b.seq ? -1 : 1;
}
