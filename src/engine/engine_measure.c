// Measuring: the model's profile and the device's limits, as the public header tells them.
#include "engine/engine_internal.h"

#include <stdlib.h>
#include <string.h>

void mosa_engine_profile(mosa_engine *engine, bool on) {
    mosa_model_set_profiling(engine->model, on);
}

_Static_assert((int)MOSA_PROFILE_NAME_MAX == (int)MOSA_PROFILE_OP_NAME_MAX, "names are copied whole");

static int slower_first(const void *a, const void *b) {
    const mosa_op_time *x = a, *y = b;
    return (x->ns < y->ns) - (x->ns > y->ns);
}

int mosa_engine_get_profile(const mosa_engine *engine, mosa_profile_row *rows, int capacity) {
    const mosa_profile *profile = mosa_model_get_profile(engine->model);
    mosa_op_time sorted[MOSA_PROFILE_OPS_MAX];
    int n = profile->n_ops < capacity ? profile->n_ops : capacity;
    memcpy(sorted, profile->ops, (size_t)profile->n_ops * sizeof *sorted);
    qsort(sorted, (size_t)profile->n_ops, sizeof *sorted, slower_first);
    for (int i = 0; i < n; i++) {
        rows[i] = (mosa_profile_row){
            .calls = sorted[i].calls, .ns = sorted[i].ns, .flops = sorted[i].flops, .bytes = sorted[i].bytes};
        memcpy(rows[i].name, sorted[i].name, sizeof rows[i].name);
    }
    return n;
}

mosa_status mosa_engine_measure(mosa_engine *engine, mosa_limits *limits, mosa_error *err) {
    mosa_device_limits measured;
    MOSA_TRY(engine->backend->ops->measure(engine->backend, &measured, err));
    *limits = (mosa_limits){.read_bytes_per_s = measured.read_bytes_per_s,
                            .f32_ops_per_s = measured.f32_ops_per_s,
                            .int8_ops_per_s = measured.int8_ops_per_s,
                            .matrix_ops_per_s = measured.matrix_ops_per_s};
    return MOSA_OK;
}
