/* Events as a watcher reads them. A type of a newer server is no fault: it is handed on by its
 * name. */
#include "producer/cli_event.h"

#include "producer/cli_json.h"

enum err_code cli_event_read(struct view name, struct view id, struct view data,
                             struct cli_event *ret, struct err *err)
{
    struct cli_event e = {.name = name, .id = id, .data = data};
    struct err inner;
    char ts[40];

    if (json_check(data, cli_json_answer_limits(), &inner) != ERR_OK)
        return err_set(err, ERR_PROTOCOL, "an event that is no JSON: %.200s", inner.text);
    if (json_raw_kind(data) != JSON_RAW_OBJECT)
        return err_set(err, ERR_PROTOCOL, "an event that is no object");
    e.is_known = event_type_parse(name, &e.type);
    cli_json_text(data, "step", e.step, sizeof e.step);
    e.item = cli_json_int(data, "item", -1);
    e.attempt = cli_json_int(data, "attempt", 0);
    if (!cli_json_text(data, "ts", ts, sizeof ts) || !clock_parse(view_of(ts), &e.ts_ms))
        e.ts_ms = 0;
    *ret = e;
    return ERR_OK;
}
