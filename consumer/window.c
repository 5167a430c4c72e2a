/* What is hard here is that a wrong commit loses jobs in silence: an offset that reads as complete
 * after a hand-over is never run. So only the incomplete offsets are known by name, everything
 * unsure counts as incomplete, and a list that does not decode, or does not fit, claims less to be
 * complete, never more.
 *
 *      base            open ones, by name                    top            next
 *       |   complete   o    complete   o  o     complete      |  read, open   |  not read
 *
 * Open offsets live in one sorted array with holes for those that were completed: offsets are read
 * in rising order, so adding is an append, completing a binary search, and the holes are squeezed
 * out when they are the majority. After a restore the array starts with the offsets that the
 * committed list names (unread); reading past one of them without meeting it means that Kafka will
 * never hand it out. */
#include "consumer/window.h"

#include "common/base/hash.h"
#include <assert.h>

enum {
    WINDOW_SLOTS_FIRST = 64,
    WINDOW_FORMAT = 1,
    WINDOW_PREFIX = 3, /* "v1." */
    WINDOW_BYTES_MAX = (WINDOW_METADATA_MAX - WINDOW_PREFIX) / 4 * 3,
    WINDOW_BYTES_FULL = WINDOW_BYTES_MAX / 4 * 3, /* admission stops */
    WINDOW_HEAD_BYTES = 1 + 2 + 10,               /* format, crc, the longest first number */
    WINDOW_GAP_BYTES = 10                         /* at most */
};

enum window_slot_state { SLOT_DONE, SLOT_OPEN, SLOT_UNREAD };

struct window_slot {
    int64_t offset;
    enum window_slot_state state;
};

struct window {
    size_t incomplete_max;
    struct window_slot *slots; /* sorted; [head, len) in use */
    size_t head, len, cap;
    size_t open;   /* slots not done */
    size_t unread; /* of them, those not met since the restore */
    int64_t stuck; /* an offset that found no memory: nothing from here on is claimed; -1 = none */
    int64_t next;  /* after the last read, or after what the restored list speaks of */
    int64_t restored; /* the restored list speaks of offsets up to here */
    int64_t last_read;
    int64_t top; /* highest complete; base - 1 or less when there is none above base */
    bool is_dirty;
    /* Of the list, head included: the most it can have grown to since it was counted. Completing
     * an offset joins two gaps and never makes it longer. */
    size_t bytes_most;
    bool is_counted; /* it is exact: nothing changed since */
};

struct window *window_new(size_t incomplete_max)
{
    struct window *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->incomplete_max = incomplete_max;
    w->restored = w->last_read = w->top = w->stuck = -1;
    w->bytes_most = WINDOW_HEAD_BYTES;
    return w;
}

void window_free(struct window *w)
{
    if (!w) return;
    free(w->slots);
    free(w);
}

/* --- slots ----------------------------------------------------------------------------------- */
static void window_squeeze(struct window *w)
{
    size_t to = 0;
    for (size_t i = w->head; i < w->len; i++) {
        if (w->slots[i].state != SLOT_DONE) w->slots[to++] = w->slots[i];
    }
    w->head = 0;
    w->len = to;
    assert(to == w->open);
}

static bool window_push(struct window *w, int64_t offset, enum window_slot_state state)
{
    if (w->len == w->cap && w->open < w->cap / 2) window_squeeze(w);
    if (w->len == w->cap) {
        size_t cap = w->cap ? w->cap * 2 : WINDOW_SLOTS_FIRST;
        struct window_slot *slots = realloc(w->slots, cap * sizeof *slots);
        if (!slots) return false;
        w->slots = slots;
        w->cap = cap;
    }
    w->slots[w->len++] = (struct window_slot){.offset = offset, .state = state};
    w->open++;
    w->unread += state == SLOT_UNREAD;
    w->bytes_most += WINDOW_GAP_BYTES;
    w->is_counted = false;
    return true;
}

static struct window_slot *window_find(struct window *w, int64_t offset)
{
    size_t low = w->head, high = w->len;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (w->slots[mid].offset < offset) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < w->len && w->slots[low].offset == offset ? &w->slots[low] : NULL;
}

static void window_close(struct window *w, struct window_slot *slot)
{
    assert(slot->state != SLOT_DONE && w->open > 0);
    w->unread -= slot->state == SLOT_UNREAD;
    slot->state = SLOT_DONE;
    w->open--;
    if (slot->offset > w->top) w->top = slot->offset;
    while (w->head < w->len && w->slots[w->head].state == SLOT_DONE) w->head++;
    if (w->head == w->len) w->head = w->len = 0;
    w->is_dirty = true;
    w->is_counted = false;
}

/* --- the list as text ------------------------------------------------------------------------ */
static size_t window_put_varint(unsigned char *dst, uint64_t n)
{
    size_t len = 0;
    while (n >= 0x80) {
        dst[len++] = (unsigned char)(n | 0x80);
        n >>= 7;
    }
    dst[len++] = (unsigned char)n;
    return len;
}

static bool window_get_varint(struct view *v, uint64_t *ret)
{
    uint64_t n = 0;
    for (unsigned shift = 0; shift < 63 && v->len; shift += 7) {
        unsigned char c = (unsigned char)*v->ptr;
        v->ptr++;
        v->len--;
        n |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80)) {
            *ret = n;
            return true;
        }
    }
    return false;
}

/* Gaps of the open offsets in (base, top] that fit into size bytes. *ret_top: what the list may
 * claim to speak of. */
static size_t window_put_gaps(const struct window *w, unsigned char *dst, size_t size,
                              int64_t *ret_top)
{
    int64_t base = window_base(w), last = base;
    size_t len = 0;
    *ret_top = w->stuck >= 0 && w->stuck <= w->top ? w->stuck - 1 : w->top;
    for (size_t i = w->head; i < w->len; i++) {
        const struct window_slot *s = &w->slots[i];
        if (s->state == SLOT_DONE || s->offset == base) continue;
        if (s->offset > *ret_top) break;
        unsigned char gap[10];
        size_t n = window_put_varint(gap, (uint64_t)(s->offset - last));
        if (len + n > size) {
            *ret_top = s->offset - 1;
            break;
        }
        memcpy(dst + len, gap, n);
        len += n;
        last = s->offset;
    }
    return len;
}

int64_t window_commit(struct window *w, struct buf *out)
{
    unsigned char bytes[WINDOW_BYTES_MAX], gaps[WINDOW_BYTES_MAX];
    int64_t base = window_base(w), top = base;
    w->is_dirty = false;
    if (w->top <= base) return base;
    size_t gap_len = window_put_gaps(w, gaps, sizeof gaps - WINDOW_HEAD_BYTES, &top);
    if (top <= base) return base;
    bytes[0] = WINDOW_FORMAT;
    size_t len = 3 + window_put_varint(bytes + 3, (uint64_t)(top - base));
    memcpy(bytes + len, gaps, gap_len);
    len += gap_len;
    uint16_t crc = hash_crc16(view_make(bytes + 3, len - 3));
    bytes[1] = (unsigned char)(crc >> 8);
    bytes[2] = (unsigned char)crc;
    (void)buf_put_str(out, "v1.");
    (void)base64url_put(out, view_make(bytes, len));
    return base;
}

/* Fills the array with what the list names. False: it is not a list of ours, the array is then
 * empty. */
static bool window_decode(struct window *w, int64_t base, struct view metadata)
{
    struct buf bytes;
    bool ok = false;
    uint64_t span = 0, gap = 0;
    buf_init(&bytes, WINDOW_METADATA_MAX);
    if (metadata.len > WINDOW_METADATA_MAX || !view_starts(metadata, "v1.")) goto out;
    if (!base64url_decode(view_make(metadata.ptr + WINDOW_PREFIX, metadata.len - WINDOW_PREFIX),
                          &bytes))
        goto out;
    if (bytes.len < 4 || bytes.data[0] != WINDOW_FORMAT) goto out;
    struct view rest = view_make(bytes.data + 3, bytes.len - 3);
    unsigned crc = (unsigned)(unsigned char)bytes.data[1] << 8 | (unsigned char)bytes.data[2];
    if (crc != hash_crc16(rest)) goto out;
    if (!window_get_varint(&rest, &span) || span == 0 || span > (uint64_t)(INT64_MAX - base) / 2)
        goto out;
    int64_t top = base + (int64_t)span, at = base;
    if (!window_push(w, base, SLOT_UNREAD)) goto out;
    while (rest.len) {
        if (!window_get_varint(&rest, &gap) || gap == 0 || gap > (uint64_t)(top - at)) goto out;
        at += (int64_t)gap;
        if (!window_push(w, at, SLOT_UNREAD)) goto out;
    }
    w->top = w->restored = top;
    ok = true;
out:
    if (!ok) {
        w->head = w->len = w->open = w->unread = 0;
    }
    buf_fini(&bytes);
    return ok;
}

int64_t window_restore(struct window *w, int64_t committed, struct view metadata, int64_t low)
{
    int64_t base = committed >= 0 ? committed : low;
    w->head = w->len = w->open = w->unread = 0;
    w->stuck = -1;
    w->top = w->restored = w->last_read = base - 1;
    w->next = base;
    w->bytes_most = WINDOW_HEAD_BYTES;
    w->is_counted = false;
    if (committed >= 0 && metadata.len && window_decode(w, base, metadata)) w->next = w->top + 1;
    while (w->head < w->len && w->slots[w->head].offset < low) window_close(w, &w->slots[w->head]);
    if (w->next < low) w->next = low;
    w->is_dirty = false;
    return window_base(w);
}

/* --- the life of an offset ------------------------------------------------------------------- */
bool window_add(struct window *w, int64_t offset)
{
    if (offset <= w->last_read) return false; /* it runs, or ran */
    w->last_read = offset;
    for (size_t i = w->head; w->unread && i < w->len && w->slots[i].offset < offset; i++) {
        if (w->slots[i].state == SLOT_UNREAD) window_close(w, &w->slots[i]);
    }
    if (offset <= w->restored) {
        struct window_slot *s = window_find(w, offset);
        if (!s || s->state != SLOT_UNREAD) return false;
        s->state = SLOT_OPEN;
        w->unread--;
        return true;
    }
    if (!window_push(w, offset, SLOT_OPEN)) {
        if (w->stuck < 0) w->stuck = offset;
        return false;
    }
    w->next = offset + 1;
    return true;
}

void window_complete(struct window *w, int64_t offset)
{
    struct window_slot *s = window_find(w, offset);
    if (s && s->state != SLOT_DONE) window_close(w, s);
}

bool window_is_open(const struct window *w, int64_t offset)
{
    struct window_slot *s = window_find((struct window *)(uintptr_t)w, offset);
    if (s) return s->state != SLOT_DONE;
    return offset >= w->next;
}

static size_t window_list_bytes(const struct window *w)
{
    size_t bytes = WINDOW_HEAD_BYTES;
    int64_t last = window_base(w);
    for (size_t i = w->head; i < w->len; i++) {
        if (w->slots[i].state == SLOT_DONE) continue;
        unsigned char gap[WINDOW_GAP_BYTES];
        bytes += window_put_varint(gap, (uint64_t)(w->slots[i].offset - last));
        last = w->slots[i].offset;
    }
    return bytes;
}

/* Asked before every record: the list is counted anew only when it may have grown to the bound. */
bool window_is_full(const struct window *w)
{
    if (w->stuck >= 0) return true;
    if (w->unread) return false; /* meeting them again only shrinks the list */
    if (w->open >= w->incomplete_max) return true;
    if (w->bytes_most < WINDOW_BYTES_FULL) return false;
    if (!w->is_counted) {
        struct window *mut = (struct window *)(uintptr_t)w;
        mut->bytes_most = window_list_bytes(w);
        mut->is_counted = true;
    }
    return w->bytes_most >= WINDOW_BYTES_FULL;
}

size_t window_incomplete(const struct window *w)
{
    return w->open;
}

int64_t window_base(const struct window *w)
{
    int64_t base = w->open ? w->slots[w->head].offset : w->next;
    return w->stuck >= 0 && w->stuck < base ? w->stuck : base;
}

bool window_is_dirty(const struct window *w)
{
    return w->is_dirty;
}

void window_touch(struct window *w)
{
    w->is_dirty = true;
}
