// Who asks, and what each has been served: the ground of fairness between callers of equal priority.
//
// A caller is known while sequences of it wait or run. Whoever comes new, or again, starts at the least that those
// present have been served: nobody saves up service by staying away. Slots are sized at init. Thread: the engine's.
#ifndef MOSA_ENGINE_CALLERS_H
#define MOSA_ENGINE_CALLERS_H

#include "base/status.h"

#include <stdint.h>

typedef struct mosa_caller {
    uint64_t key;
    int64_t served;  // positions computed for it
    int32_t present; // sequences that wait or run; 0 = the slot is free
    int32_t running;
} mosa_caller;

typedef struct mosa_callers {
    mosa_caller *slots; // (capacity)
    int32_t n_slots;    // slots used so far; none behind them is present
    int32_t capacity;
} mosa_callers;

mosa_status mosa_callers_init(mosa_callers *callers, int32_t capacity, mosa_error *err);
void mosa_callers_finish(mosa_callers *callers);

// One more sequence of `key` is present; returns its slot, valid until its last sequence leaves. There must be room:
// fewer than `capacity` sequences may be present.
int32_t mosa_callers_enter(mosa_callers *callers, uint64_t key);
void mosa_callers_leave(mosa_callers *callers, int32_t slot);

#endif
