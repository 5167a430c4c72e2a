#ifndef SIM_NAMED_H
#define SIM_NAMED_H
#include "tests/sim/stage.h"

/* The named hard days as fixed stories, each with an assertion of its own. */
size_t named_count(void);
const char *named_name(size_t index);
bool named_run(size_t index, bool trace, const struct workflows *ws, struct plant *ret_faults); /* only its faults are filled */

#endif
