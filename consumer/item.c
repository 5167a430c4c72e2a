/* One allocation a record: the value stands behind the struct, so a queued job of 500 bytes costs
 * one malloc and one free. */
#include "consumer/item.h"

#include <assert.h>

struct item *item_new(const struct job_head *head, enum topic topic, const struct record_in *rec)
{
    size_t len = rec ? rec->value.len : 0;
    struct item *it = malloc(sizeof *it + len);
    if (!it) return NULL;
    memset(it, 0, sizeof *it);
    it->head = *head;
    it->topic = topic;
    it->offset = rec ? rec->offset : -1;
    it->timestamp_ms = rec ? rec->timestamp_ms : 0;
    char *bytes = (char *)(it + 1);
    if (len) memcpy(bytes, rec->value.ptr, len);
    it->value = (struct view){.ptr = bytes, .len = len};
    return it;
}

void item_free(struct item *it)
{
    if (!it) return;
    assert(!list_linked(&it->link) && !list_linked(&it->waiting) && !list_linked(&it->untold));
    assert(!scheduler_has(&it->sched) && it->keyed.state == KEYED_OUT &&
           it->place.state == SPILL_OUT && !it->timer.slot);
    free(it);
}

size_t item_bytes(const struct item *it)
{
    return sizeof *it + it->value.len;
}

enum sched_lane item_lane(const struct item *it)
{
    return it->head.cls == CLASS_BULK ? SCHED_BULK : SCHED_INTERACTIVE;
}

unsigned item_rank(const struct item *it)
{
    bool is_new = it->topic == TOPIC_JOBS_INTERACTIVE || it->topic == TOPIC_JOBS_BULK ||
                  it->topic == TOPIC_SPILL_INTERACTIVE || it->topic == TOPIC_SPILL_BULK;
    return is_new ? (unsigned)(SCHED_PRIORITY_DEFAULT + it->head.boost) : SCHED_DUE;
}

int64_t item_tier_ms(const struct item *it)
{
    return it->topic < TOPIC_COUNT ? topic_delay_ms(it->topic) : 0;
}

bool item_is_over(const struct item *it, int64_t wall_ms)
{
    return known_is_canceled(it->job, it->head.tenant) ||
           (it->head.deadline_ms > 0 && it->head.deadline_ms <= wall_ms);
}
