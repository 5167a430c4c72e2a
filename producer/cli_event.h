#ifndef PRODUCER_CLI_EVENT_H
#define PRODUCER_CLI_EVENT_H
#include "schemas/event.h"
#include "schemas/state.h"

/* One event as it came, with the members that most readers want taken out. Pure. */
struct cli_event {
    struct view name; /* its type as text */
    enum event_type type;
    bool is_known;          /* of a type this build has */
    struct view id;         /* VIEW_NONE: not durable */
    struct view data;       /* a checked JSON object */
    char step[STEP_ID_MAX]; /* "" = of the job */
    int64_t item, attempt;  /* -1, 0 = not there */
    int64_t ts_ms;          /* 0 = not there */
};

/* Views are borrowed from what is given. ERR_PROTOCOL: not the data of an event. */
MUST_CHECK enum err_code cli_event_read(struct view name, struct view id, struct view data,
                                        struct cli_event *ret, struct err *err);

#endif
