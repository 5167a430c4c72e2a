#ifndef BASE_LIST_H
#define BASE_LIST_H
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

/* Intrusive counted doubly linked list: state = membership. A link that is in no list has next
 * == NULL. */
struct list_link {
    struct list_link *prev, *next;
};

struct list {
    struct list_link head;
    size_t count;
};

#define LIST_ITEM(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

static inline void list_init(struct list *l)
{
    l->head.prev = l->head.next = &l->head;
    l->count = 0;
}

static inline bool list_linked(const struct list_link *k)
{
    return k->next != NULL;
}

static inline void list_push(struct list *l, struct list_link *k)
{
    assert(!list_linked(k));
    k->prev = l->head.prev;
    k->next = &l->head;
    l->head.prev->next = k;
    l->head.prev = k;
    l->count++;
}

static inline void list_push_front(struct list *l, struct list_link *k)
{
    assert(!list_linked(k));
    k->next = l->head.next;
    k->prev = &l->head;
    l->head.next->prev = k;
    l->head.next = k;
    l->count++;
}

static inline void list_insert_before(struct list *l, struct list_link *at, struct list_link *k)
{
    assert(!list_linked(k) && list_linked(at));
    k->prev = at->prev;
    k->next = at;
    at->prev->next = k;
    at->prev = k;
    l->count++;
}

static inline void list_remove(struct list *l, struct list_link *k)
{
    assert(list_linked(k) && l->count > 0);
    k->prev->next = k->next;
    k->next->prev = k->prev;
    k->prev = k->next = NULL;
    l->count--;
}

static inline struct list_link *list_first(const struct list *l)
{
    return l->count ? l->head.next : NULL;
}

static inline struct list_link *list_next(const struct list *l, const struct list_link *k)
{
    return k->next == &l->head ? NULL : k->next;
}

#endif
