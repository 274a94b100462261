// Sums of squares by chunk on all threads, joined in order on one.
#include "train/grad_norm.h"

#include <math.h>
#include <stdlib.h>

typedef struct norm_job {
    const mosa_params *params;
    const float *grads;
    double *chunk;
} norm_job;

mosa_status mosa_grad_norm_init(mosa_grad_norm *norm, const mosa_params *params, mosa_error *err) {
    *norm = (mosa_grad_norm){0};
    norm->per_param = calloc(params->count + 1, sizeof *norm->per_param);
    norm->chunk = calloc(params->n_chunks + 1, sizeof *norm->chunk);
    if (norm->per_param && norm->chunk) return MOSA_OK;
    mosa_grad_norm_finish(norm);
    return mosa_fail(err, MOSA_ENOMEM, "out of memory for gradient norms");
}

void mosa_grad_norm_finish(mosa_grad_norm *norm) {
    free(norm->per_param);
    free(norm->chunk);
    *norm = (mosa_grad_norm){0};
}

static double sum_squares(const float *x, uint32_t n) {
    enum { LANES = 8 };
    double lane[LANES] = {0};
    uint32_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += (double)x[i + l] * x[i + l];
    for (; i < n; i++) lane[i % LANES] += (double)x[i] * x[i];
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

static void norm_chunks(void *arg, int thread, int n_threads) {
    const norm_job *job = arg;
    size_t n = job->params->n_chunks, begin = n * thread / n_threads, end = n * (thread + 1) / n_threads;
    for (size_t c = begin; c < end; c++) {
        const mosa_param_chunk *chunk = &job->params->chunks[c];
        job->chunk[c] = sum_squares(job->grads + job->params->items[chunk->param].offset + chunk->begin, chunk->count);
    }
}

void mosa_grad_norm_compute(mosa_grad_norm *norm, const mosa_params *params, mosa_pool *pool, const float *grads,
                            double scale) {
    norm_job job = {params, grads, norm->chunk};
    mosa_pool_run(pool, norm_chunks, &job);
    double total = 0;
    for (size_t p = 0, c = 0; p < params->count; p++) {
        double sum = 0;
        for (; c < params->n_chunks && params->chunks[c].param == p; c++) sum += norm->chunk[c];
        norm->per_param[p] = sqrt(sum) * scale;
        total += sum;
    }
    norm->total = sqrt(total) * scale;
}

float mosa_clip_factor(double norm, double max_norm) {
    if (max_norm <= 0) return 1;
    double factor = max_norm / (norm + 1e-6);
    return factor < 1 ? (float)factor : 1;
}
