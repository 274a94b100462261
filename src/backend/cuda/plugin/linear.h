// The linear kernels below the graph: matrices packed as linear_layout.cuh says times rows of activations.
//
// y[T,N] = x[T,K] w[N,K]^T (+ b), sums in the order of linear_layout.cuh: a row's bits do not depend on T, nor on which
// kernel ran (`tuning` chooses among those that give the same bits). Nothing is allocated; work is put on `stream`.
// Thread: any; the first call of a process sets kernel attributes.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_LINEAR_H
#define MOSA_BACKEND_CUDA_PLUGIN_LINEAR_H

#ifndef LINEAR_EMULATE
#include <cuda_runtime_api.h>
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct linear_matrix;
struct linear_source;

enum { LINEAR_AUTO, LINEAR_BY_ROWS, LINEAR_BY_TILES, LINEAR_BY_WGMMA };

typedef struct linear_tuning {
    int path;          // LINEAR_*; a path that cannot run the call falls back to the other
    int blocks_per_sm; // of the kernel for few rows; 0 = default
    int stages;        // of its ring: 0 = default, 1 = shorter, 2 = longer
    int tile;          // 1 + index of the tile shape (16, 32, 64, 128 tokens); 0 = by T
    int separate;      // chunks of K in blocks of their own: 0 = when blocks are few, 1 = never, 2 = always, through
                       // memory, 3 = always, in clusters
    int wgmma;         // variant of gemm_wgmma.h
    bool serial;       // no programmatic dependent launch
} linear_tuning;

typedef struct linear_call {
    const struct linear_matrix *matrix;
    const void *x;    // device: f32 rows, or bf16 rows with zeros from K up to a multiple of 8
    int64_t x_stride; // bytes
    bool x_bf16;
    int32_t rows;
    const float *bias; // device f32 [N] or [experts, N], or NULL
    float *out;        // device f32
    int64_t out_stride;
    void *scratch; // device, 256-byte aligned, linear_scratch_bytes()
    size_t scratch_bytes;
    linear_tuning tuning;
    // Stacks: slot s of row t uses matrix index[t][s] (s when index is NULL) on x + s * x_slot_stride, and goes to
    // columns [s * N, (s + 1) * N) of out. slots 0: a plain matrix.
    const int32_t *index;
    int64_t index_stride, x_slot_stride;
    int32_t slots;
} linear_call;

static inline int64_t linear_bf16_row_bytes(int64_t k) {
    return (2 * k + 15) / 16 * 16;
}

// Enough for any number of rows up to max_rows.
size_t linear_scratch_bytes(int64_t n, int64_t k, int64_t experts, int64_t slots, int64_t max_rows);
cudaError_t linear_run(const linear_call *call, cudaStream_t stream);
// As n calls of linear_run, none of which reads what another writes: neighbours that read the same rows share a launch.
cudaError_t linear_run_together(const linear_call *calls, int n, cudaStream_t stream);
cudaError_t linear_run_stack(const linear_call *call, cudaStream_t stream);

// f32 rows to bf16 rows, round to nearest even; to_stride bytes a row, a multiple of 16, are written: zeros from K on.
cudaError_t linear_to_bf16(const float *x, int64_t x_stride, void *to, int64_t to_stride, int64_t rows, int64_t k,
                           bool serial, cudaStream_t stream);

// Packs rows [16 * tile, ...) of a matrix: `source` describes the rows on the device from there on (n of them), `to` is
// the matrix's own begin. tiles: how many to write; rows beyond source->n become zeros.
cudaError_t linear_repack(const struct linear_source *source, int kind, int64_t tile, int64_t tiles, char *to,
                          cudaStream_t stream);

#endif
