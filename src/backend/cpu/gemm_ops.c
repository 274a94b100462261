// Ops that are one product of matrices, in terms of gemm.h.
#include "backend/cpu/gemm.h"

#include <string.h>

// b is a weight [N,K], as its file holds it.
static void set_weight(mosa_gemm *g, const mosa_weight *weight) {
    g->b = weight->view.data;
    g->b_dtype = weight->view.dtype;
    g->b_row_bytes = weight->view.bytes / (size_t)weight->view.dims[0];
}

static int64_t stride_of(int64_t bytes) {
    return bytes / (int64_t)sizeof(float);
}

// y[T,N] = x[T,K] w[N,K]^T + bias
void mosa_cpu_linear_unpacked(const mosa_cpu_args *args, int thread, int n_threads, mosa_gemm_fn fn) {
    const mosa_weight *weight = args->in[1];
    mosa_gemm g = {.m = args->rows, .n = weight->view.dims[0], .k = weight->view.dims[1], .alpha = 1};
    g.a = args->in[0];
    g.lda = stride_of(args->in_stride[0]);
    set_weight(&g, weight);
    g.b_transposed = true;
    g.bias = args->node->n_in > 2 ? mosa_cpu_vector(args, 2) : NULL;
    g.c = args->out[0];
    g.ldc = stride_of(args->out_stride[0]);
    g.scratch = args->scratch;
    fn(&g, thread, n_threads);
}

// dx[T,K] = dy[T,N] w[N,K]
void mosa_cpu_linear_dx(const mosa_cpu_args *args, int thread, int n_threads, mosa_gemm_fn fn) {
    const mosa_weight *weight = args->in[1];
    mosa_gemm g = {.m = args->rows, .n = weight->view.dims[1], .k = weight->view.dims[0], .alpha = 1};
    g.a = args->in[0];
    g.lda = stride_of(args->in_stride[0]);
    set_weight(&g, weight);
    g.c = args->out[0];
    g.ldc = stride_of(args->out_stride[0]);
    g.scratch = args->scratch;
    fn(&g, thread, n_threads);
}

// dw[N,K] += dy[T,N]^T x[T,K]
void mosa_cpu_linear_dw(const mosa_cpu_args *args, int thread, int n_threads, mosa_gemm_fn fn) {
    mosa_gemm g = {.m = mosa_cpu_columns(args, 0), .n = mosa_cpu_columns(args, 1), .k = args->rows, .alpha = 1};
    g.a = args->in[0];
    g.lda = stride_of(args->in_stride[0]);
    g.b = args->in[1];
    g.b_row_bytes = (size_t)args->in_stride[1];
    g.b_dtype = MOSA_F32;
    g.a_transposed = g.add = true;
    g.c = mosa_cpu_grad(args, 2);
    g.ldc = g.n;
    g.scratch = args->scratch;
    fn(&g, thread, n_threads);
}

// y'[T,N] = y + u[T,R] b[N,R]^T, by rows: a thread's rows of y are copied and added to.
void mosa_cpu_lora_add(const mosa_cpu_args *args, int thread, int n_threads, mosa_gemm_fn fn) {
    const mosa_weight *weight = args->in[2];
    int64_t begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    if (begin == end) return;
    mosa_gemm g = {.m = end - begin, .n = weight->view.dims[0], .k = weight->view.dims[1], .alpha = 1, .add = true};
    for (int64_t t = begin; t < end; t++)
        memcpy(mosa_cpu_out_row(args, 0, t), mosa_cpu_in_row(args, 0, t), (size_t)g.n * sizeof(float));
    g.a = mosa_cpu_in_row(args, 1, begin);
    g.lda = stride_of(args->in_stride[1]);
    set_weight(&g, weight);
    g.b_transposed = true;
    g.c = mosa_cpu_out_row(args, 0, begin);
    g.ldc = stride_of(args->out_stride[0]);
    g.scratch = args->scratch;
    fn(&g, 0, 1);
}
