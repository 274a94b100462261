// The guard before each optimiser step: a loss or gradient that is not finite, or a loss far above the recent ones,
// skips the step, and the message names the tensor.
//
// A spike is a loss more than z_max standard deviations above the mean of the last `window` accepted losses, judged
// once that many (at least 8) are known. Thread: one at a time.
#ifndef MOSA_TRAIN_GUARD_H
#define MOSA_TRAIN_GUARD_H

#include "train/grad_norm.h"

enum { MOSA_GUARD_WINDOW_MAX = 512, MOSA_GUARD_WINDOW_MIN = 8, MOSA_GUARD_MESSAGE = 320 };

typedef struct mosa_guard {
    double z_max;                         // 0 = spikes pass
    int window;                           // losses that the mean is over
    int skips_max;                        // skips in a row that end the run; 0 = no bound
    double losses[MOSA_GUARD_WINDOW_MAX]; // ring of accepted ones
    int64_t accepted;
    int skips_in_row;
    int64_t skipped;                  // in all
    char message[MOSA_GUARD_MESSAGE]; // why the last step was skipped
} mosa_guard;

void mosa_guard_init(mosa_guard *guard, double z_max, int window, int skips_max); // window is brought into its bounds

// *skip says whether to leave this step out; `message` then says why. MOSA_ELIMIT when skips_max was passed in a row.
MOSA_MUST_USE mosa_status mosa_guard_check(mosa_guard *guard, int64_t step, double loss, const mosa_params *params,
                                           const mosa_grad_norm *norm, bool *skip, mosa_error *err);

#endif
