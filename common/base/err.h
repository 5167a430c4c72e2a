#ifndef BASE_ERR_H
#define BASE_ERR_H
#include <stdbool.h>

#define MUST_CHECK              __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))

/* What a program decides by. Names for people and clients live in schemas/errors.def. */
enum err_code {
    ERR_OK = 0,
    ERR_NOMEM,     /* allocation failed */
    ERR_INVALID,   /* bytes from outside break a rule; the caller's fault */
    ERR_TOO_LARGE, /* a declared ceiling was met */
    ERR_NOT_FOUND,
    ERR_CONFLICT, /* the other side already holds another truth */
    ERR_FULL,     /* a queue of ours is full: try later */
    ERR_TIMEOUT,
    ERR_UNAVAILABLE, /* a server is away or refuses for now */
    ERR_DENIED,      /* credentials or scope */
    ERR_PROTOCOL,    /* a server sent what it must not send */
    ERR_CLOSED,      /* the thing was shut down under the caller */
    ERR_INTERNAL
};

/* Class drives retry; code drives answers. */
enum err_class { ERR_CLASS_CALLER, ERR_CLASS_TEMPORARY, ERR_CLASS_PERMANENT, ERR_CLASS_INTERNAL };

/* A fallible function returns the code and, when err is not NULL, fills it (code, a sentence,
 * and where it applies the JSON pointer or file:line of the fault). Never holds prompts, inputs
 * or keys. */
struct err {
    enum err_code code;
    char text[256];
    char where[128];
};

/* Sets *err (may be NULL) and returns code, so that `return err_set(...)` reads well. */
enum err_code err_set(struct err *err, enum err_code code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* As err_set, with the place: a JSON pointer such as /input/url, or file:line. */
enum err_code err_set_at(struct err *err, enum err_code code, const char *where, const char *fmt,
                         ...) PRINTF_LIKE(4, 5);
/* Puts "context: " before the text already there; returns err->code (ERR_INTERNAL when err is
 * NULL: a caller that may have none returns the inner call's code). */
enum err_code err_wrap(struct err *err, const char *fmt, ...) PRINTF_LIKE(2, 3);
enum err_class err_class_of(enum err_code code);
/* Lower-case stable name ("too_large"). */
const char *err_name(enum err_code code);

#endif
