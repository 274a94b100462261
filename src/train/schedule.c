// One function per kind of schedule, in a table with the kind's name.
#include "train/schedule.h"

#include "base/status.h"

#include <math.h>
#include <string.h>

static double at_least_one(int64_t n) {
    return n > 1 ? (double)n : 1;
}

static double progress_of(const mosa_schedule *s, int64_t step) {
    return (double)(step - s->warmup_steps) / at_least_one(s->total_steps - s->warmup_steps);
}

static double positive(double x) {
    return x > 0 ? x : 0;
}

static double linear(const mosa_schedule *s, int64_t step) {
    return positive((double)(s->total_steps - step) / at_least_one(s->total_steps - s->warmup_steps));
}

static double wave(const mosa_schedule *s, int64_t step) {
    double cycles = s->cycles > 0 ? s->cycles : 0.5;
    return 0.5 * (1 + cos(M_PI * cycles * 2 * progress_of(s, step)));
}

static double cosine(const mosa_schedule *s, int64_t step) {
    return positive(wave(s, step));
}

static double cosine_restarts(const mosa_schedule *s, int64_t step) {
    double progress = progress_of(s, step), cycles = s->cycles > 0 ? s->cycles : 1;
    return progress >= 1 ? 0 : positive(0.5 * (1 + cos(M_PI * fmod(cycles * progress, 1))));
}

static double cosine_min(const mosa_schedule *s, int64_t step) {
    return positive(wave(s, step) * (1 - s->min_ratio) + s->min_ratio);
}

static double polynomial(const mosa_schedule *s, int64_t step) {
    if (step > s->total_steps) return s->min_ratio;
    double left = 1 - (double)(step - s->warmup_steps) / at_least_one(s->total_steps - s->warmup_steps);
    return (1 - s->min_ratio) * pow(left, s->power > 0 ? s->power : 1) + s->min_ratio;
}

static double constant(const mosa_schedule *s, int64_t step) {
    (void)s, (void)step;
    return 1;
}

static double inverse_sqrt(const mosa_schedule *s, int64_t step) {
    double timescale = s->warmup_steps > 0 ? (double)s->warmup_steps : 10000;
    return 1 / sqrt(((double)step + timescale - (double)s->warmup_steps) / timescale);
}

static double wsd(const mosa_schedule *s, int64_t step) {
    int64_t decay_begin = s->total_steps - s->decay_steps;
    if (step < decay_begin) return 1;
    if (step >= s->total_steps) return s->min_ratio;
    double progress = (double)(step - decay_begin) / at_least_one(s->decay_steps), factor = 1 - progress;
    if (s->decay == MOSA_DECAY_COSINE) factor = 0.5 * (1 + cos(M_PI * progress));
    if (s->decay == MOSA_DECAY_SQRT) factor = 1 - sqrt(progress);
    return positive(factor * (1 - s->min_ratio) + s->min_ratio);
}

static const struct {
    const char *name;
    double (*factor)(const mosa_schedule *, int64_t step); // after the warm-up
} kinds[MOSA_SCHEDULE_COUNT] = {
    [MOSA_SCHEDULE_LINEAR] = {"linear", linear},
    [MOSA_SCHEDULE_COSINE] = {"cosine", cosine},
    [MOSA_SCHEDULE_COSINE_RESTARTS] = {"cosine_with_restarts", cosine_restarts},
    [MOSA_SCHEDULE_COSINE_MIN] = {"cosine_with_min_lr", cosine_min},
    [MOSA_SCHEDULE_POLYNOMIAL] = {"polynomial", polynomial},
    [MOSA_SCHEDULE_CONSTANT] = {"constant", constant},
    [MOSA_SCHEDULE_CONSTANT_WARMUP] = {"constant_with_warmup", constant},
    [MOSA_SCHEDULE_INVERSE_SQRT] = {"inverse_sqrt", inverse_sqrt},
    [MOSA_SCHEDULE_WSD] = {"warmup_stable_decay", wsd},
};

double mosa_schedule_factor(const mosa_schedule *schedule, int64_t step) {
    if (step >= schedule->warmup_steps || schedule->kind == MOSA_SCHEDULE_CONSTANT)
        return kinds[schedule->kind].factor(schedule, step);
    double progress = (double)step / at_least_one(schedule->warmup_steps);
    if (schedule->kind == MOSA_SCHEDULE_WSD) return progress * (1 - schedule->min_ratio) + schedule->min_ratio;
    return progress;
}

const char *mosa_schedule_name(mosa_schedule_kind kind) {
    return kinds[kind].name;
}

bool mosa_schedule_from_name(const char *name, mosa_schedule_kind *out) {
    if (strcmp(name, "wsd") == 0) name = kinds[MOSA_SCHEDULE_WSD].name;
    for (int kind = 0; kind < MOSA_SCHEDULE_COUNT; kind++)
        if (strcmp(name, kinds[kind].name) == 0) return *out = (mosa_schedule_kind)kind, true;
    return false;
}

bool mosa_decay_from_name(const char *name, mosa_decay_kind *out) {
    static const char *const names[MOSA_DECAY_COUNT] = {"linear", "cosine", "1-sqrt"};
    for (int kind = 0; kind < MOSA_DECAY_COUNT; kind++)
        if (strcmp(name, names[kind]) == 0) return *out = (mosa_decay_kind)kind, true;
    return false;
}
