/* Bytes to replies: hiredis' redisReader with object functions of our own.
 *
 * hiredis' default functions make one malloc per element: a page of 1,000 stream entries is some
 * 7,000 of them. Here a reply's nodes and strings are cut from a region that is emptied when the
 * next reply is asked for; its first chunk is kept, so usual replies cost no malloc at all. Strings
 * are copied because the reader moves its buffer between feeds. Under AddressSanitizer the emptied
 * region is poisoned: who keeps a reply past its callback is caught.
 *
 * hiredis 0.14 and 1.x differ in the type of createArray's count and in the RESP3 functions; RESP3
 * is never asked for, but a server that sends it anyway must not make the reader hand out its type
 * codes as pointers. */
#include "common/io/redis_priv.h"
#include <assert.h>
#include <hiredis/hiredis.h>
#include <hiredis/read.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n)   ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

enum { REGION_CHUNK = 64 << 10, REGION_MAX = 256 << 20, READER_MAX = 128 << 20 };

struct region_chunk {
    struct region_chunk *below;
    size_t cap, used;
    _Alignas(16) char bytes[];
};

struct redis_replies {
    redisReader *reader;
    struct region_chunk *top; /* the bottom one is kept */
    size_t total;
    bool was_given;
};

static struct region_chunk *region_chunk_new(size_t cap)
{
    struct region_chunk *k = malloc(sizeof *k + cap);
    if (!k) return NULL;
    k->below = NULL;
    k->cap = cap;
    k->used = 0;
    ASAN_POISON_MEMORY_REGION(k->bytes, cap);
    return k;
}

static void *region_alloc(struct redis_replies *r, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    if (r->top->cap - r->top->used < size) {
        size_t cap = size > REGION_CHUNK ? size : REGION_CHUNK;
        if (r->total + cap > REGION_MAX) return NULL;
        struct region_chunk *k = region_chunk_new(cap);
        if (!k) return NULL;
        k->below = r->top;
        r->top = k;
        r->total += cap;
    }
    void *p = r->top->bytes + r->top->used;
    r->top->used += size;
    ASAN_UNPOISON_MEMORY_REGION(p, size);
    return p;
}

static void region_chunk_free(struct region_chunk *k)
{
    ASAN_UNPOISON_MEMORY_REGION(k->bytes, k->cap);
    free(k);
}

static void region_empty(struct redis_replies *r)
{
    while (r->top->below) {
        struct region_chunk *k = r->top;
        r->top = k->below;
        region_chunk_free(k);
    }
    ASAN_POISON_MEMORY_REGION(r->top->bytes, r->top->cap);
    r->top->used = 0;
    r->total = 0;
}

/* Where the element of this task lives: in its parent's array, or alone. */
static struct reply *reply_slot(const redisReadTask *task)
{
    struct redis_replies *r = task->privdata;
    struct reply *slot = NULL;
    if (task->parent) {
        const struct reply *parent = task->parent->obj;
        assert(parent && task->idx >= 0 && (size_t)task->idx < parent->count);
        slot = (struct reply *)(uintptr_t)&parent
                   ->items[task->idx]; /* made by reply_make_array, so writable */
    } else {
        slot = region_alloc(r, sizeof *slot);
    }
    if (slot) *slot = (struct reply){.kind = REPLY_NIL};
    return slot;
}

static void *reply_make_string(const redisReadTask *task, char *bytes, size_t len)
{
    struct redis_replies *r = task->privdata;
    struct reply *slot = reply_slot(task);
    char *copy = region_alloc(r, len + 1);
    if (!slot || !copy) return NULL;
    memcpy(copy, bytes, len);
    copy[len] = '\0';
    slot->kind = task->type == REDIS_REPLY_ERROR    ? REPLY_ERROR
                 : task->type == REDIS_REPLY_STATUS ? REPLY_STATUS
                                                    : REPLY_STR;
    slot->str = view_make(copy, len);
    return slot;
}

#if HIREDIS_MAJOR >= 1
static void *reply_make_array(const redisReadTask *task, size_t count)
#else
static void *reply_make_array(const redisReadTask *task, int count)
#endif
{
    struct redis_replies *r = task->privdata;
    struct reply *slot = reply_slot(task);
    size_t n = (size_t)count;
    if (!slot || n > REGION_MAX / sizeof(struct reply)) return NULL;
    struct reply *items = n ? region_alloc(r, n * sizeof *items) : NULL;
    if (n && !items) return NULL;
    for (size_t i = 0; i < n; i++) items[i] = (struct reply){.kind = REPLY_NIL};
    slot->kind = REPLY_ARRAY;
    slot->items = items;
    slot->count = n;
    return slot;
}

static void *reply_make_int(const redisReadTask *task, long long n)
{
    struct reply *slot = reply_slot(task);
    if (!slot) return NULL;
    slot->kind = REPLY_INT;
    slot->num = n;
    return slot;
}

static void *reply_make_nil(const redisReadTask *task)
{
    return reply_slot(task);
}

#if HIREDIS_MAJOR >= 1
static void *reply_make_double(const redisReadTask *task, double x, char *text, size_t len)
{
    (void)x;
    return reply_make_string(task, text, len);
}

static void *reply_make_bool(const redisReadTask *task, int truth)
{
    return reply_make_int(task, truth);
}
#endif

static void reply_free(void *object)
{
    (void)object; /* the region owns it */
}

#if HIREDIS_MAJOR >= 1
static const redisReplyObjectFunctions reply_functions = {
    .createDouble = reply_make_double,
    .createBool = reply_make_bool,
#else
static const redisReplyObjectFunctions reply_functions = {
#endif
    .createString = reply_make_string,
    .createArray = reply_make_array,
    .createInteger = reply_make_int,
    .createNil = reply_make_nil,
    .freeObject = reply_free,
};

static redisReader *replies_reader(struct redis_replies *r)
{
    /* hiredis 0.14 takes a pointer to non-const; it never writes through it. */
    redisReplyObjectFunctions *functions = (redisReplyObjectFunctions *)(uintptr_t)&reply_functions;
    redisReader *reader = redisReaderCreateWithFunctions(functions);
    if (reader) reader->privdata = r;
    return reader;
}

struct redis_replies *redis_replies_new(void)
{
    struct redis_replies *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->top = region_chunk_new(REGION_CHUNK);
    r->reader = replies_reader(r);
    if (r->top && r->reader) return r;
    redis_replies_free(r);
    return NULL;
}

void redis_replies_free(struct redis_replies *r)
{
    if (!r) return;
    if (r->reader) redisReaderFree(r->reader);
    if (r->top) {
        region_empty(r);
        region_chunk_free(r->top);
    }
    free(r);
}

void redis_replies_reset(struct redis_replies *r)
{
    if (r->reader) redisReaderFree(r->reader);
    r->reader = replies_reader(r); /* NULL: the next feed fails, and the connection with it */
    region_empty(r);
    r->was_given = false;
}

bool redis_replies_feed(struct redis_replies *r, const char *bytes, size_t len)
{
    return r->reader && r->reader->len + len <= READER_MAX &&
           redisReaderFeed(r->reader, bytes, len) == REDIS_OK;
}

enum redis_next redis_replies_next(struct redis_replies *r, const struct reply **ret,
                                   struct err *err)
{
    void *object = NULL;
    if (r->was_given) {
        region_empty(r);
        r->was_given = false;
    }
    if (!r->reader || redisReaderGetReply(r->reader, &object) != REDIS_OK) {
        err_set(err, ERR_PROTOCOL, "reply: %s", r->reader ? r->reader->errstr : "no memory");
        return REDIS_NEXT_BROKEN;
    }
    if (!object) return REDIS_NEXT_NONE;
    r->was_given = true;
    *ret = object;
    return REDIS_NEXT_ONE;
}
