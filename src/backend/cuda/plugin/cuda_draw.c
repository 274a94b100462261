// exec_draw: requests up, tokens down, through pinned memory that the first draw of an exec makes.
#include "backend/cuda/plugin/cuda_exec.h"
#include "backend/cuda/plugin/draw.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct mosa_cuda_draws {
    mosa_draw *draws, *host_draws; // (max_rows) on the device, pinned
    mosa_drawn *drawn, *host_drawn;
};

void mosa_cuda_draws_destroy(struct mosa_cuda_draws *draws) {
    if (!draws) return;
    (void)cudaFree(draws->draws);
    (void)cudaFree(draws->drawn);
    if (draws->host_draws) (void)cudaFreeHost(draws->host_draws);
    if (draws->host_drawn) (void)cudaFreeHost(draws->host_drawn);
    free(draws);
}

static mosa_status create(mosa_exec *exec, mosa_error *err) {
    if (exec->draws) return MOSA_OK;
    size_t n = (size_t)exec->plan->max_rows;
    struct mosa_cuda_draws *d = calloc(1, sizeof *d);
    if (!d) return mosa_fail(err, MOSA_ENOMEM, "cuda: out of memory");
    cudaError_t error = cudaMalloc((void **)&d->draws, n * sizeof *d->draws);
    if (error == cudaSuccess) error = cudaMalloc((void **)&d->drawn, n * sizeof *d->drawn);
    if (error == cudaSuccess) error = cudaHostAlloc((void **)&d->host_draws, n * sizeof *d->draws, 0);
    if (error == cudaSuccess) error = cudaHostAlloc((void **)&d->host_drawn, n * sizeof *d->drawn, 0);
    if (error != cudaSuccess) {
        mosa_cuda_draws_destroy(d);
        return mosa_cuda_fail(err, error, "memory for draws");
    }
    exec->draws = d;
    return MOSA_OK;
}

static mosa_status check(const mosa_exec *exec, const mosa_draw *draw, int64_t vocabulary, mosa_error *err) {
    if (draw->row < 0 || draw->row >= exec->last_rows)
        return mosa_fail(err, MOSA_EINVALID, "row %d of %d is not there", draw->row, exec->last_rows);
    if (draw->given >= vocabulary || draw->n_top > MOSA_DRAW_TOP_MAX || !(draw->uniform >= 0 && draw->uniform < 1) ||
        isnan(draw->temperature) || isnan(draw->top_p) || isnan(draw->min_p))
        return mosa_fail(err, MOSA_EINVALID, "draw of row %d is out of range", draw->row);
    return MOSA_OK;
}

mosa_status mosa_cuda_exec_draw(mosa_exec *exec, int output, const mosa_draw *draws, int32_t n, mosa_drawn *drawn,
                                mosa_error *err) {
    int64_t vocabulary = 0;
    const float *logits = mosa_cuda_exec_rows(exec, output, &vocabulary);
    if (!logits || vocabulary > INT32_MAX / 2)
        return mosa_fail(err, MOSA_EINVALID, "output %d is not made of logits", output);
    if (n < 0 || n > exec->plan->max_rows)
        return mosa_fail(err, MOSA_EINVALID, "%d draws, at most %lld", n, (long long)exec->plan->max_rows);
    for (int32_t i = 0; i < n; i++) MOSA_TRY(check(exec, &draws[i], vocabulary, err));
    if (n == 0) return MOSA_OK;
    MOSA_TRY(mosa_cuda_use(&exec->cuda->base, err));
    MOSA_TRY(create(exec, err));
    cudaStream_t stream = exec->cuda->stream;
    struct mosa_cuda_draws *d = exec->draws;
    memcpy(d->host_draws, draws, (size_t)n * sizeof *draws);
    MOSA_CUDA_TRY(cudaMemcpyAsync(d->draws, d->host_draws, (size_t)n * sizeof *draws, cudaMemcpyHostToDevice, stream),
                  "draw", err);
    MOSA_CUDA_TRY(mosa_cuda_draw_launch(logits, (int)vocabulary, d->draws, n, d->drawn, stream), "draw", err);
    MOSA_CUDA_TRY(cudaMemcpyAsync(d->host_drawn, d->drawn, (size_t)n * sizeof *drawn, cudaMemcpyDeviceToHost, stream),
                  "draw", err);
    MOSA_CUDA_TRY(cudaStreamSynchronize(stream), "draw", err);
    memcpy(drawn, d->host_drawn, (size_t)n * sizeof *drawn);
    return MOSA_OK;
}
