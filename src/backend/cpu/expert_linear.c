// EXPERT_LINEAR for kernels that multiply rows given one by one: slots sorted by matrix, then each matrix with its
// rows.
//
// Every thread sorts for itself (a counting sort of a few thousand numbers, less than a barrier costs) and takes its
// share of the panels of every matrix, so that all threads have the same to do whichever experts are chosen. A slot's
// output is the same numbers whatever rows stand beside it, so that the order of the sort shows in no bit.
#include "backend/cpu/experts.h"
#include "backend/cpu/linear.h"
#include "backend/cpu/pack_internal.h"

#include <assert.h>
#include <string.h>

enum { MAP_SLOTS = 32 * 1024 };

// Of `slot[begin[e] .. begin[e + 1])`: row * slots + slot of what uses matrix e.
typedef struct row_map {
    int32_t begin[MOSA_EXPERTS_MAX + 16]; // what follows a map stays 64-byte aligned
    int32_t slot[MAP_SLOTS];
} row_map;
static_assert(sizeof(row_map) % 64 == 0, "alignment");
static_assert(sizeof(row_map) + MOSA_LINEAR_SCRATCH_BYTES <= MOSA_CPU_SCRATCH_BYTES, "scratch");

// Rows [first, first + rows), at most MAP_SLOTS slots of them.
static void sort_slots(const mosa_cpu_experts *x, int64_t matrices, int64_t first, int64_t rows, row_map *map) {
    int32_t *end = map->begin + 1; // where a matrix's slots have come to
    memset(map->begin, 0, (size_t)(matrices + 2) * sizeof *map->begin);
    for (int64_t t = 0; t < rows; t++)
        for (int64_t s = 0; s < x->slots; s++) end[mosa_cpu_expert_at(x, first + t, s) + 1]++;
    for (int64_t e = 0; e < matrices; e++) end[e + 1] += end[e];
    for (int64_t t = 0; t < rows; t++)
        for (int64_t s = 0; s < x->slots; s++)
            map->slot[end[mosa_cpu_expert_at(x, first + t, s)]++] = (int32_t)(t * x->slots + s);
}

// Multiplies the slots of one matrix.
static void multiply(const mosa_cpu_args *args, const mosa_cpu_experts *x, mosa_linear_rows job, const int32_t *slots,
                     int64_t count, int64_t first, mosa_linear_rows_fn fn) {
    const uint8_t *act[MOSA_LINEAR_BLOCK];
    float *y[MOSA_LINEAR_BLOCK];
    job.act = act;
    job.y = y;
    int64_t blocks = (count + MOSA_LINEAR_BLOCK - 1) / MOSA_LINEAR_BLOCK;
    for (int64_t b = 0; b < blocks; b++) {
        int64_t begin = count * b / blocks, end = count * (b + 1) / blocks;
        job.rows = (int32_t)(end - begin);
        for (int64_t i = begin; i < end; i++) {
            int64_t row = first + slots[i] / x->slots, slot = slots[i] % x->slots;
            act[i - begin] = mosa_cpu_expert_input(x, row, slot);
            y[i - begin] = mosa_cpu_out_row(args, 0, row) + slot * job.n;
        }
        fn(&job);
    }
}

void mosa_cpu_expert_linear(const mosa_cpu_args *args, int thread, int n_threads, mosa_linear_rows_fn fn) {
    const mosa_weight *weight = args->in[1];
    const float *bias = args->node->n_in > 3 ? mosa_cpu_vector(args, 3) : NULL;
    mosa_cpu_experts x = mosa_cpu_experts_of(args);
    row_map *map = args->scratch;
    int64_t matrices = weight->view.dims[0], chunk = MAP_SLOTS / x.slots;
    mosa_linear_rows job = {.dtype = weight->view.dtype, .n = weight->view.dims[1], .k = weight->view.dims[2]};
    mosa_cpu_share((job.n - 1) / MOSA_PANEL_ROWS + 1, 1, thread, n_threads, &job.panel_begin, &job.panel_end);
    job.scratch = map + 1;
    for (int64_t first = 0; job.panel_begin < job.panel_end && first < args->rows; first += chunk) {
        sort_slots(&x, matrices, first, args->rows - first < chunk ? args->rows - first : chunk, map);
        for (int64_t e = 0; e < matrices; e++) {
            int32_t at = map->begin[e], count = map->begin[e + 1] - at;
            if (count == 0) continue;
            job.packed = (const unsigned char *)weight->packed + (size_t)e * weight->slice_bytes;
            job.bias = bias ? bias + e * job.n : NULL;
            multiply(args, &x, job, map->slot + at, count, first, fn);
        }
    }
}
