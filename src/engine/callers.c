// The table of callers: few are present at a time, so it is searched from end to end.
#include "engine/callers.h"

#include <assert.h>
#include <stdlib.h>

mosa_status mosa_callers_init(mosa_callers *callers, int32_t capacity, mosa_error *err) {
    *callers = (mosa_callers){.capacity = capacity};
    callers->slots = calloc((size_t)capacity, sizeof *callers->slots);
    return callers->slots ? MOSA_OK : mosa_fail(err, MOSA_ENOMEM, "out of memory for %d callers", capacity);
}

void mosa_callers_finish(mosa_callers *callers) {
    free(callers->slots);
    *callers = (mosa_callers){0};
}

int32_t mosa_callers_enter(mosa_callers *callers, uint64_t key) {
    int64_t least = INT64_MAX;
    int32_t free_slot = callers->n_slots;
    for (int32_t i = callers->n_slots - 1; i >= 0; i--) {
        mosa_caller *caller = &callers->slots[i];
        if (caller->present == 0) {
            free_slot = i;
        } else if (caller->key == key) {
            caller->present++;
            return i;
        } else if (caller->served < least) {
            least = caller->served;
        }
    }
    assert(free_slot < callers->capacity);
    if (free_slot == callers->n_slots) callers->n_slots++;
    callers->slots[free_slot] = (mosa_caller){.key = key, .served = least == INT64_MAX ? 0 : least, .present = 1};
    return free_slot;
}

void mosa_callers_leave(mosa_callers *callers, int32_t slot) {
    callers->slots[slot].present--;
    while (callers->n_slots > 0 && callers->slots[callers->n_slots - 1].present == 0) callers->n_slots--;
}
