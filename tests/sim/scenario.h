#ifndef SIM_SCENARIO_H
#define SIM_SCENARIO_H
#include "tests/sim/stage.h"

/* A whole world from one number. */
struct scenario_result {
    uint64_t hash;
    int64_t virtual_ms;
    size_t jobs, calls, resets, fault_count; /* fault_count: promises found broken */
    char faults[PLANT_FAULTS_MAX][240];
};
bool scenario_run(uint64_t seed, bool trace, const struct workflows *ws, struct scenario_result *ret);

#endif
