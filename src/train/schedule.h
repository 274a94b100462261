// Learning-rate schedules: the factor of the peak rate at a step, with the formulas of transformers' get_scheduler.
//
// Steps count optimiser steps from 0; during warm-up the factor is step / warmup_steps. A pure function: reentrant.
#ifndef MOSA_TRAIN_SCHEDULE_H
#define MOSA_TRAIN_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum mosa_schedule_kind {
    MOSA_SCHEDULE_LINEAR,          // "linear": to 0 at the last step
    MOSA_SCHEDULE_COSINE,          // "cosine": (1 + cos(pi * 2 * cycles * progress)) / 2, cycles 0.5
    MOSA_SCHEDULE_COSINE_RESTARTS, // "cosine_with_restarts": `cycles` half waves, each from the peak
    MOSA_SCHEDULE_COSINE_MIN,      // "cosine_with_min_lr": cosine down to min_ratio
    MOSA_SCHEDULE_POLYNOMIAL,      // "polynomial": (1 - progress)^power down to min_ratio
    MOSA_SCHEDULE_CONSTANT,        // "constant": without warm-up
    MOSA_SCHEDULE_CONSTANT_WARMUP, // "constant_with_warmup"
    MOSA_SCHEDULE_INVERSE_SQRT,    // "inverse_sqrt": sqrt(timescale / (step + timescale - warmup)), timescale = warmup
    MOSA_SCHEDULE_WSD,             // "warmup_stable_decay": constant until the last decay_steps, then down to min_ratio
    MOSA_SCHEDULE_COUNT
} mosa_schedule_kind;

typedef enum mosa_decay_kind {
    MOSA_DECAY_LINEAR,
    MOSA_DECAY_COSINE,
    MOSA_DECAY_SQRT,
    MOSA_DECAY_COUNT
} mosa_decay_kind;

typedef struct mosa_schedule {
    mosa_schedule_kind kind;
    int64_t warmup_steps, total_steps;
    double cycles;         // cosine 0.5, restarts 1; 0 = these
    double power;          // polynomial; 0 = 1
    double min_ratio;      // of the peak rate, where the kind has one
    int64_t decay_steps;   // WSD
    mosa_decay_kind decay; // WSD: "linear", "cosine", "1-sqrt"
} mosa_schedule;

double mosa_schedule_factor(const mosa_schedule *schedule, int64_t step);

const char *mosa_schedule_name(mosa_schedule_kind kind);
bool mosa_schedule_from_name(const char *name, mosa_schedule_kind *out); // also "wsd"; false leaves *out
bool mosa_decay_from_name(const char *name, mosa_decay_kind *out);

#endif
