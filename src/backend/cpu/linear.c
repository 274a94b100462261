// LINEAR for instruction sets that multiply rows given as pointers: this thread's panels, blocks of rows in turn.
#include "backend/cpu/linear.h"
#include "backend/cpu/pack_internal.h"

enum { BLOCK = MOSA_LINEAR_BLOCK };

void mosa_cpu_linear(const mosa_cpu_args *args, int thread, int n_threads, mosa_linear_rows_fn fn) {
    const mosa_weight *weight = args->in[1];
    const uint8_t *act[BLOCK];
    float *y[BLOCK];
    mosa_linear_rows job = {.dtype = weight->view.dtype, .n = weight->view.dims[0], .k = weight->view.dims[1]};
    job.packed = weight->packed;
    job.bias = args->node->n_in > 2 ? mosa_cpu_vector(args, 2) : NULL;
    mosa_cpu_share((job.n - 1) / MOSA_PANEL_ROWS + 1, 1, thread, n_threads, &job.panel_begin, &job.panel_end);
    job.act = act;
    job.y = y;
    job.scratch = args->scratch;
    int blocks = (args->rows + BLOCK - 1) / BLOCK;
    for (int b = 0; b < blocks; b++) {
        int64_t first = (int64_t)args->rows * b / blocks;
        job.rows = (int32_t)((int64_t)args->rows * (b + 1) / blocks - first);
        for (int32_t r = 0; r < job.rows; r++) {
            act[r] = (const uint8_t *)mosa_cpu_in_row(args, 0, first + r);
            y[r] = mosa_cpu_out_row(args, 0, first + r);
        }
        fn(&job);
    }
}
