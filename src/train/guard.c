// Judging a step by its loss and its gradient's norms.
#include "train/guard.h"

#include <math.h>
#include <stdio.h>

void mosa_guard_init(mosa_guard *guard, double z_max, int window, int skips_max) {
    if (window < MOSA_GUARD_WINDOW_MIN) window = MOSA_GUARD_WINDOW_MIN;
    if (window > MOSA_GUARD_WINDOW_MAX) window = MOSA_GUARD_WINDOW_MAX;
    *guard = (mosa_guard){.z_max = z_max, .window = window, .skips_max = skips_max};
}

static size_t largest_share(const mosa_params *params, const mosa_grad_norm *norm) {
    size_t best = 0;
    for (size_t p = 1; p < params->count; p++)
        if (norm->per_param[p] > norm->per_param[best]) best = p;
    return best;
}

static bool not_finite(mosa_guard *guard, int64_t step, double loss, const mosa_params *params,
                       const mosa_grad_norm *norm) {
    int count = 0;
    const char *first = NULL;
    for (size_t p = 0; p < params->count; p++)
        if (!isfinite(norm->per_param[p])) {
            if (!first) first = params->items[p].name;
            count++;
        }
    if (first)
        snprintf(guard->message, sizeof guard->message,
                 "step %lld skipped: the gradient of %s is not finite (%d of %zu tensors, loss %g)", (long long)step,
                 first, count, params->count, loss);
    else if (!isfinite(loss))
        snprintf(guard->message, sizeof guard->message, "step %lld skipped: the loss is %g, every gradient is finite",
                 (long long)step, loss);
    else
        return false;
    return true;
}

static bool spike(mosa_guard *guard, int64_t step, double loss, const mosa_params *params, const mosa_grad_norm *norm) {
    if (guard->z_max <= 0 || guard->accepted < guard->window) return false;
    double mean = 0, variance = 0;
    for (int i = 0; i < guard->window; i++) mean += guard->losses[i] / guard->window;
    for (int i = 0; i < guard->window; i++)
        variance += (guard->losses[i] - mean) * (guard->losses[i] - mean) / guard->window;
    double deviation = sqrt(variance), floor = 1e-3 * fabs(mean) + 1e-6; // a flat loss has no deviation to speak of
    double z = (loss - mean) / (deviation > floor ? deviation : floor);
    if (z <= guard->z_max) return false;
    size_t p = params->count ? largest_share(params, norm) : 0;
    snprintf(guard->message, sizeof guard->message,
             "step %lld skipped: loss %.4f is %.1f deviations above the mean %.4f of the last %d; the largest gradient "
             "is that of %s (norm %.3g of %.3g)",
             (long long)step, loss, z, mean, guard->window, params->count ? params->items[p].name : "no tensor",
             params->count ? norm->per_param[p] : 0, norm->total);
    return true;
}

mosa_status mosa_guard_check(mosa_guard *guard, int64_t step, double loss, const mosa_params *params,
                             const mosa_grad_norm *norm, bool *skip, mosa_error *err) {
    *skip = not_finite(guard, step, loss, params, norm) || spike(guard, step, loss, params, norm);
    if (!*skip) {
        guard->losses[guard->accepted++ % guard->window] = loss;
        guard->skips_in_row = 0;
        guard->message[0] = '\0';
        return MOSA_OK;
    }
    guard->skipped++;
    if (++guard->skips_in_row <= guard->skips_max || guard->skips_max == 0) return MOSA_OK;
    return mosa_fail(err, MOSA_ELIMIT, "%d steps in a row were skipped; %s", guard->skips_in_row, guard->message);
}
