// Opening the CPU backend: kernel table, threads, lowering.
#include "backend/cpu/cpu_backend.h"

#include "backend/cpu/pack.h"
#include "graph/pass.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Fills the table by what the processor reports, up to what `variant` names; returns the name of the instruction set.
static const char *choose_kernels(mosa_cpu_backend *cpu, const char *variant) {
    mosa_cpu_kernels_ref(&cpu->kernels);
#if defined(__x86_64__)
    mosa_cpu_features features = mosa_cpu_detect();
    if (strcmp(variant, "ref") != 0 && features.avx2 && features.fma && features.f16c) {
        mosa_cpu_kernels_avx2(&cpu->kernels);
        if (!features.avx512 || strcmp(variant, "avx2") == 0) return "avx2+fma+f16c";
        mosa_cpu_kernels_avx512(&cpu->kernels);
        return "avx512+vnni";
    }
#endif
    (void)variant;
    return "plain C";
}

static void destroy(mosa_backend *backend) {
    if (!backend) return;
    mosa_cpu_backend *cpu = (mosa_cpu_backend *)backend;
    mosa_pool_destroy(cpu->pool);
    free(cpu);
}

static const char *describe(const mosa_backend *backend) {
    return ((const mosa_cpu_backend *)backend)->description;
}

static bool supports(mosa_op op, const void *context) {
    return ((const mosa_cpu_backend *)context)->kernels.op[op].run != NULL;
}

static int layout_of(mosa_dtype weight_dtype, int64_t k, const void *context) {
    (void)context;
    return mosa_cpu_act_layout(weight_dtype, k);
}

static int64_t row_bytes(int layout, int64_t k, const void *context) {
    (void)context;
    return mosa_cpu_act_row_bytes(layout, k);
}

static mosa_status lower(mosa_backend *backend, const mosa_graph *graph, mosa_graph **out, mosa_error *err) {
    mosa_graph *clean = NULL, *fused = NULL, *quantized = NULL;
    mosa_status status;
    MOSA_TRY_GOTO(mosa_pass_clean(graph, &clean, err), done);
    MOSA_TRY_GOTO(mosa_pass_fuse(clean, supports, backend, &fused, err), done);
    MOSA_TRY_GOTO(mosa_pass_quantize(fused, layout_of, row_bytes, backend, &quantized, err), done);
    status = mosa_pass_clean(quantized, out, err);
done:
    mosa_graph_destroy(clean);
    mosa_graph_destroy(fused);
    mosa_graph_destroy(quantized);
    return status;
}

static const mosa_backend_ops cpu_ops = {
    .name = "cpu",
    .destroy = destroy,
    .describe = describe,
    .lower = lower,
    .weight_create = mosa_cpu_weight_create,
    .weight_destroy = mosa_cpu_weight_destroy,
    .weight_bytes = mosa_cpu_weight_bytes,
    .weight_refresh = mosa_cpu_weight_refresh,
    .kv_create = mosa_cpu_kv_create,
    .kv_destroy = mosa_cpu_kv_destroy,
    .kv_page_bytes = mosa_cpu_kv_page_bytes,
    .kv_element_bytes = mosa_cpu_kv_element_bytes,
    .adapter_create = mosa_cpu_adapter_create,
    .adapter_destroy = mosa_cpu_adapter_destroy,
    .adapter_bytes = mosa_cpu_adapter_bytes,
    .exec_create = mosa_cpu_exec_create,
    .exec_destroy = mosa_cpu_exec_destroy,
    .exec_run = mosa_cpu_exec_run,
    .exec_read = mosa_cpu_exec_read,
    .exec_profile = mosa_cpu_exec_profile,
    .exec_times = mosa_cpu_exec_times,
    .measure = mosa_cpu_measure,
};

mosa_status mosa_cpu_open(const mosa_backend_options *options, const char *variant, mosa_backend **out,
                          mosa_error *err) {
    if (*variant && strcmp(variant, "ref") != 0 && strcmp(variant, "avx2") != 0)
        return mosa_fail(err, MOSA_ENOTFOUND, "no device 'cpu:%.60s'", variant);
    mosa_cpu_backend *cpu = calloc(1, sizeof *cpu);
    if (!cpu) return mosa_fail(err, MOSA_ENOMEM, "cpu: out of memory");
    cpu->base.ops = &cpu_ops;
    mosa_status status = mosa_pool_create(options->threads, &cpu->pool, err);
    if (status != MOSA_OK) {
        free(cpu);
        return status;
    }
    cpu->n_threads = mosa_pool_threads(cpu->pool);
    const char *isa = choose_kernels(cpu, variant);
    cpu->packs = strcmp(cpu->kernels.op[MOSA_OP_LINEAR].isa, "ref") != 0;
    (void)snprintf(cpu->description, sizeof cpu->description, "cpu: %d thread%s, %s", cpu->n_threads,
                   cpu->n_threads == 1 ? "" : "s", isa);
    *out = &cpu->base;
    return MOSA_OK;
}
