// Kernels of training: derivatives of dense, norm, elementwise and rotary ops, and the loss over a vocabulary.
//
// Products run on the tensor cores of Hopper over bf16 copies (matmul_wgmma.h) where shapes allow it, else in f32. A
// sum over rows is cut into slices of SLICE rows, added up slice by slice in order; every element is written by one
// thread, so gradients do not depend on how blocks are scheduled. Gradients add to what is there: operand `grads` is
// the device pointer of the weight's own part of the arena.
#include "backend/cuda/plugin/dequant.cuh"
#include "backend/cuda/plugin/device.cuh"
#include "backend/cuda/plugin/grad.h"
#include "backend/cuda/plugin/linear.h"
#include "backend/cuda/plugin/matmul_wgmma.h"

#include <stdlib.h>

enum { SLICE = 64 };

static float *grad_of(const mosa_cuda_args *args, int operand) {
    return const_cast<float *>(static_cast<const float *>(args->in[operand]));
}

static int64_t row_bytes_of(mosa_dtype dtype, int64_t k) {
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(dtype);
    return k / traits->block_len * traits->block_bytes;
}

static size_t align_up(size_t bytes) {
    return (bytes + 255) / 256 * 256;
}

// --- products in f32 ------------------------------------------------------------------------------------------------

// C[m,n] (+)= sum over k, ascending, of A(m,k) B(k,n). A is [m][k] or turned [k][m]; B is [k][n], of any type.
typedef struct gemm_args {
    const float *a;
    const unsigned char *b;
    float *c;
    int64_t a_stride, b_stride, c_stride; // floats; bytes; floats
    int m, n, k;
    bool turned, adds;
} gemm_args;

enum { TILE = 64, DEPTH = 16, GEMM_THREADS = 256 };

template <int Type> __global__ void __launch_bounds__(GEMM_THREADS) gemm(gemm_args p) {
    __shared__ float a[DEPTH][TILE + 4], b[DEPTH][TILE + 4];
    const int m0 = blockIdx.y * TILE, n0 = blockIdx.x * TILE, tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    float acc[4][4];
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            int m = m0 + ty * 4 + i, n = n0 + tx * 4 + j;
            acc[i][j] = p.adds && m < p.m && n < p.n ? p.c[m * p.c_stride + n] : 0.0f;
        }
    for (int k0 = 0; k0 < p.k; k0 += DEPTH) {
        for (int i = threadIdx.x; i < TILE * DEPTH; i += GEMM_THREADS) {
            int k = p.turned ? i / TILE : i % DEPTH, m = p.turned ? i % TILE : i / DEPTH;
            bool inside = m0 + m < p.m && k0 + k < p.k;
            int64_t at = p.turned ? (k0 + k) * p.a_stride + m0 + m : (m0 + m) * p.a_stride + k0 + k;
            a[k][m] = inside ? p.a[at] : 0.0f;
            int kb = i / TILE, n = i % TILE;
            inside = n0 + n < p.n && k0 + kb < p.k;
            b[kb][n] = inside ? element<Type>(p.b + (k0 + kb) * p.b_stride, n0 + n) : 0.0f;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < DEPTH; k++)
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) acc[i][j] = fmaf(a[k][ty * 4 + i], b[k][tx * 4 + j], acc[i][j]);
        __syncthreads();
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            int m = m0 + ty * 4 + i, n = n0 + tx * 4 + j;
            if (m < p.m && n < p.n) p.c[m * p.c_stride + n] = acc[i][j];
        }
}

static cudaError_t launch_gemm(const gemm_args *p, mosa_dtype dtype, cudaStream_t stream) {
    dim3 grid(blocks_of(p->n, TILE), blocks_of(p->m, TILE));
    MOSA_CUDA_BY_TYPE(dtype, { gemm<Type><<<grid, GEMM_THREADS, 0, stream>>>(*p); })
    return cudaGetLastError();
}

// --- products in bf16 -----------------------------------------------------------------------------------------------

// Rows of any type as bf16 rows with zeros up to their stride.
template <int Type>
__global__ void rows_to_bf16(const unsigned char *x, int64_t x_stride, __nv_bfloat16 *to, int64_t to_stride,
                             int64_t columns, int64_t total) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) return;
    int64_t row = i / to_stride, c = i % to_stride;
    to[i] = __float2bfloat16_rn(c < columns ? element<Type>(x + row * x_stride, c) : 0.0f);
}

static int64_t bf16_stride(int64_t columns) { // elements
    return (columns + 7) / 8 * 8;
}

static size_t copy_bytes(int64_t rows, int64_t columns) {
    return align_up((size_t)rows * (size_t)bf16_stride(columns) * 2);
}

static cudaError_t to_bf16(const void *x, mosa_dtype dtype, int64_t x_stride, void *to, int64_t rows, int64_t columns,
                           cudaStream_t stream) {
    int64_t stride = bf16_stride(columns), total = rows * stride;
    MOSA_CUDA_BY_TYPE(dtype, {
        rows_to_bf16<Type><<<blocks_of(total, 256), 256, 0, stream>>>(
            static_cast<const unsigned char *>(x), x_stride, static_cast<__nv_bfloat16 *>(to), stride, columns, total);
    })
    return cudaGetLastError();
}

// A matrix of a product: rows of any type; `bf16` is where its copy goes, or the matrix itself when it needs none.
typedef struct operand {
    const void *rows;
    mosa_dtype dtype;
    int64_t stride; // bytes
    int64_t count, columns;
    void *bf16;
    int64_t bf16_bytes; // of a row of it; 0: not made yet
} operand;

static cudaError_t prepare(operand *x, cudaStream_t stream) {
    if (x->bf16_bytes) return cudaSuccess;
    if (x->dtype == MOSA_BF16 && x->stride % 16 == 0 && reinterpret_cast<uintptr_t>(x->rows) % 16 == 0) {
        x->bf16 = const_cast<void *>(x->rows);
        x->bf16_bytes = x->stride;
        return cudaSuccess;
    }
    x->bf16_bytes = bf16_stride(x->columns) * 2;
    return to_bf16(x->rows, x->dtype, x->stride, x->bf16, x->count, x->columns, stream);
}

static bool matmul_wanted() {
    static const char *set = getenv("MOSA_CUDA_MATMUL");
    return !set || set[0] != '0';
}

// C (+)= A B, or A^T B with `turned`: C [m,n] f32. b is [k][n].
static cudaError_t product(operand *a, bool turned, operand *b, float *c, int64_t c_stride, bool adds,
                           cudaStream_t stream) {
    int64_t m = turned ? a->columns : a->count, k = turned ? a->count : a->columns;
    if (matmul_wanted() && b->columns % 2 == 0 && c_stride % 4 == 0 && m >= 16) {
        cudaError_t error = prepare(a, stream);
        if (error == cudaSuccess) error = prepare(b, stream);
        if (error != cudaSuccess) return error;
        mosa_cuda_matmul g = {};
        g.a = a->bf16, g.a_stride = a->bf16_bytes, g.a_transposed = turned;
        g.b = b->bf16, g.b_stride = b->bf16_bytes, g.b_transposed = 1;
        g.c = c, g.c_stride = c_stride * 4, g.out = adds ? MOSA_CUDA_MATMUL_ADD_F32 : MOSA_CUDA_MATMUL_F32;
        g.m = (int32_t)m, g.n = (int32_t)b->columns, g.k = (int32_t)k;
        error = mosa_cuda_matmul_launch(&g, 0, stream);
        if (error != cudaErrorNotSupported) return error;
        (void)cudaGetLastError();
    }
    gemm_args plain = {};
    plain.a = static_cast<const float *>(a->rows), plain.a_stride = a->stride / 4;
    plain.b = static_cast<const unsigned char *>(b->rows), plain.b_stride = b->stride;
    plain.c = c, plain.c_stride = c_stride;
    plain.m = (int)m, plain.n = (int)b->columns, plain.k = (int)k;
    plain.turned = turned, plain.adds = adds;
    return launch_gemm(&plain, b->dtype, stream);
}

static operand rows_operand(const void *rows, int64_t stride, int64_t count, int64_t columns, void *bf16) {
    operand x = {rows, MOSA_F32, stride, count, columns, bf16, 0};
    return x;
}

static operand table_operand(const mosa_weight *w, void *bf16) {
    int64_t columns = w->view.dims[1];
    operand x = {w->table, w->view.dtype, row_bytes_of(w->view.dtype, columns), w->view.dims[0], columns, bf16, 0};
    return x;
}

static cudaError_t linear_dx_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    const mosa_weight *w = in_weight(args, 1);
    char *scratch = static_cast<char *>(args->scratch);
    operand dy = rows_operand(args->in[0], args->in_stride[0], args->rows, in_columns(args, 0), scratch);
    operand table = table_operand(w, scratch + copy_bytes(args->rows, in_columns(args, 0)));
    return product(&dy, false, &table, out_rows(args, 0), args->out_stride[0] / 4, false, stream);
}

static size_t linear_dx_scratch(const mosa_graph *graph, const mosa_node *node, int64_t max_rows, int64_t) {
    const mosa_shape *w = &graph->values[node->in[1]].shape;
    return copy_bytes(max_rows, w->dim[0]) + copy_bytes(w->dim[0], w->dim[1]);
}

static cudaError_t linear_dw_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    int64_t n = in_columns(args, 0), k = in_columns(args, 1);
    char *scratch = static_cast<char *>(args->scratch);
    operand dy = rows_operand(args->in[0], args->in_stride[0], args->rows, n, scratch);
    operand x = rows_operand(args->in[1], args->in_stride[1], args->rows, k, scratch + copy_bytes(args->rows, n));
    return product(&dy, true, &x, grad_of(args, 2), k, true, stream);
}

static size_t linear_dw_scratch(const mosa_graph *graph, const mosa_node *node, int64_t max_rows, int64_t) {
    return copy_bytes(max_rows, graph->values[node->in[0]].shape.dim[1]) +
           copy_bytes(max_rows, graph->values[node->in[1]].shape.dim[1]);
}

template <int Type>
__global__ void lora_add(const float *y, const float *u, const unsigned char *b, int64_t b_stride, int64_t n, int rank,
                         float *out, int64_t total) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) return;
    const float *from = u + i / n * rank;
    const unsigned char *row = b + i % n * b_stride;
    float acc = y[i];
    for (int j = 0; j < rank; j++) acc = fmaf(from[j], element<Type>(row, j), acc);
    out[i] = acc;
}

static cudaError_t lora_add_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    const mosa_weight *b = in_weight(args, 2);
    int64_t n = in_columns(args, 0), total = args->rows * n;
    MOSA_CUDA_BY_TYPE(b->view.dtype, {
        lora_add<Type><<<blocks_of(total, 256), 256, 0, stream>>>(
            in_rows(args, 0), in_rows(args, 1), static_cast<const unsigned char *>(b->table),
            row_bytes_of(b->view.dtype, b->view.dims[1]), n, (int)b->view.dims[1], out_rows(args, 0), total);
    })
    return cudaGetLastError();
}

// --- the loss -------------------------------------------------------------------------------------------------------

typedef struct loss_args {
    float *logits; // (chunk, vocabulary): becomes dz
    const int32_t *labels;
    const float *coef;
    float *stats;          // (rows, 4)
    int vocabulary, begin; // row of the batch that block 0 has
    float scale, softcap;
} loss_args;

static __device__ inline float shaped(const loss_args &p, float x) {
    x *= p.scale;
    return p.softcap > 0 ? p.softcap * tanhf(x / p.softcap) : x;
}

// A block has a row: its loss, and dz in place of its logits.
__global__ void __launch_bounds__(1024) loss_rows(loss_args p) {
    __shared__ float shared[32];
    __shared__ int first;
    const int row = p.begin + blockIdx.x, label = p.labels[row];
    float *z = p.logits + (int64_t)blockIdx.x * p.vocabulary, *stats = p.stats + (int64_t)row * 4;
    if (label < 0 || label >= p.vocabulary) {
        for (int i = threadIdx.x; i < p.vocabulary; i += blockDim.x) z[i] = 0;
        if (threadIdx.x < 4) stats[threadIdx.x] = 0;
        return;
    }
    float max = -INFINITY, sum = 0, spread = 0;
    for (int i = threadIdx.x; i < p.vocabulary; i += blockDim.x) max = fmaxf(max, shaped(p, z[i]));
    max = block_max(max, shared);
    if (threadIdx.x == 0) first = p.vocabulary;
    for (int i = threadIdx.x; i < p.vocabulary; i += blockDim.x) {
        float v = shaped(p, z[i]) - max, e = expf(v);
        sum += e;
        spread = fmaf(e, v, spread);
    }
    sum = block_sum(sum, shared);
    spread = block_sum(spread, shared) / sum;
    for (int i = threadIdx.x; i < p.vocabulary; i += blockDim.x)
        if (shaped(p, z[i]) == max) atomicMin(&first, i);
    __syncthreads();
    float log_sum = logf(sum), coef = p.coef[row];
    if (threadIdx.x == 0) {
        stats[0] = shaped(p, z[label]) - max - log_sum;
        stats[1] = max + log_sum;
        stats[2] = log_sum - spread;
        stats[3] = first == label ? 1.0f : 0.0f;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < p.vocabulary; i += blockDim.x) {
        float v = shaped(p, z[i]), slope = p.scale;
        if (p.softcap > 0) slope *= 1 - v / p.softcap * (v / p.softcap);
        z[i] = coef * (expf(v - max) / sum - (i == label ? 1.0f : 0.0f)) * slope;
    }
}

typedef struct loss_plan { // scratch: bf16 of dz, of h, of the table, then what LINEAR wants
    size_t dz, h, table, linear, bytes;
} loss_plan;

static loss_plan plan_loss(const mosa_graph *graph, const mosa_node *node) {
    const mosa_shape *w = &graph->values[node->in[1]].shape;
    int64_t chunk = node->attrs.linear_ce.chunk;
    loss_plan p = {};
    p.h = copy_bytes(chunk, w->dim[0]);
    p.table = p.h + copy_bytes(chunk, w->dim[1]);
    p.linear = p.table + copy_bytes(w->dim[0], w->dim[1]);
    p.bytes = p.linear + linear_scratch_bytes(w->dim[0], w->dim[1], 1, 0, chunk);
    return p;
}

static size_t linear_ce_scratch(const mosa_graph *graph, const mosa_node *node, int64_t, int64_t) {
    return plan_loss(graph, node).bytes;
}

// The logits of a chunk, as LINEAR computes them when the model is served.
static cudaError_t chunk_logits(const mosa_cuda_args *args, const loss_plan &plan, int begin, int rows,
                                cudaStream_t stream) {
    int x = args->node->n_in > 5 ? 5 : 0;
    mosa_node node = *args->node;
    node.op = MOSA_OP_LINEAR;
    node.n_in = 2;
    node.in[0] = args->node->in[x];
    mosa_cuda_args linear = *args;
    linear.node = &node;
    linear.rows = rows;
    linear.in[0] = static_cast<const char *>(args->in[x]) + begin * args->in_stride[x];
    linear.in_stride[0] = args->in_stride[x];
    linear.out[0] = args->out[2];
    linear.out_stride[0] = args->out_stride[2];
    linear.scratch = static_cast<char *>(args->scratch) + plan.linear;
    linear.scratch_bytes = args->scratch_bytes - plan.linear;
    return in_weight(args, 1)->packed ? mosa_cuda_linear_launch(&linear, stream)
                                      : mosa_cuda_generic_linear_launch(&linear, stream);
}

static cudaError_t linear_ce_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    const mosa_attrs *attrs = &args->node->attrs;
    const mosa_weight *w = in_weight(args, 1);
    loss_plan plan = plan_loss(args->graph, args->node);
    char *scratch = static_cast<char *>(args->scratch);
    operand table = table_operand(w, scratch + plan.table);
    int64_t width = table.columns;
    for (int begin = 0; begin < args->rows; begin += attrs->linear_ce.chunk) {
        int rows = args->rows - begin < attrs->linear_ce.chunk ? args->rows - begin : attrs->linear_ce.chunk;
        cudaError_t error = chunk_logits(args, plan, begin, rows, stream);
        if (error != cudaSuccess) return error;
        loss_args loss = {static_cast<float *>(args->out[2]),
                          static_cast<const int32_t *>(args->in[2]),
                          in_rows(args, 3),
                          out_rows(args, 0),
                          (int)table.count,
                          begin,
                          attrs->linear_ce.scale,
                          attrs->linear_ce.softcap};
        loss_rows<<<(unsigned)rows, 1024, 0, stream>>>(loss);
        if ((error = cudaGetLastError()) != cudaSuccess) return error;
        const float *h = in_rows(args, 0) + begin * width;
        float *dh = out_rows(args, 1) + begin * width;
        operand dz = rows_operand(args->out[2], args->out_stride[2], rows, table.count, scratch);
        if ((error = product(&dz, false, &table, dh, width, false, stream)) != cudaSuccess) return error;
        if (args->node->attrs2.grad.slot < 0) continue;
        operand rows_h = rows_operand(h, width * 4, rows, width, scratch + plan.h);
        if ((error = product(&dz, true, &rows_h, grad_of(args, 4), width, true, stream)) != cudaSuccess) return error;
    }
    return cudaSuccess;
}

// --- sums over rows -------------------------------------------------------------------------------------------------

// grad[c] += sum over rows and groups: slices of rows in parallel, then in order.
typedef struct sum_args {
    const float *dy, *x; // x NULL: dy alone, else dy * (x - mean) * r
    const float *stats;  // (rows * groups, 2): mean, r
    float *partial, *grad;
    int rows, width, groups; // columns of a group, groups of a row
} sum_args;

__global__ void sum_slices(sum_args p) {
    int c = blockIdx.x * blockDim.x + threadIdx.x, begin = blockIdx.y * SLICE;
    int end = begin + SLICE < p.rows ? begin + SLICE : p.rows;
    if (c >= p.width) return;
    float acc = 0;
    for (int64_t i = (int64_t)begin * p.groups; i < (int64_t)end * p.groups; i++) {
        float g = p.dy[i * p.width + c];
        acc = p.x ? fmaf(g, (p.x[i * p.width + c] - p.stats[2 * i]) * p.stats[2 * i + 1], acc) : acc + g;
    }
    p.partial[(int64_t)blockIdx.y * p.width + c] = acc;
}

__global__ void add_slices(sum_args p, int slices) {
    int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= p.width) return;
    float acc = p.grad[c];
    for (int s = 0; s < slices; s++) acc += p.partial[(int64_t)s * p.width + c];
    p.grad[c] = acc;
}

static cudaError_t launch_sum(const sum_args *p, cudaStream_t stream) {
    int slices = (p->rows + SLICE - 1) / SLICE;
    sum_slices<<<dim3(blocks_of(p->width, 128), (unsigned)slices), 128, 0, stream>>>(*p);
    add_slices<<<blocks_of(p->width, 128), 128, 0, stream>>>(*p, slices);
    return cudaGetLastError();
}

static size_t partial_bytes(int64_t rows, int64_t width) {
    return align_up((size_t)((rows + SLICE - 1) / SLICE) * (size_t)width * sizeof(float));
}

static cudaError_t rows_sum_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    sum_args p = {};
    p.dy = in_rows(args, 0);
    p.partial = static_cast<float *>(args->scratch);
    p.grad = grad_of(args, 1);
    p.rows = args->rows;
    p.width = (int)args->node->attrs2.grad.elements;
    p.groups = (int)(in_columns(args, 0) / p.width);
    return launch_sum(&p, stream);
}

static size_t rows_sum_scratch(const mosa_graph *, const mosa_node *node, int64_t max_rows, int64_t) {
    return partial_bytes(max_rows, node->attrs2.grad.elements);
}

// --- norms ----------------------------------------------------------------------------------------------------------

enum norm_kind { NORM_RMS, NORM_LAYER, NORM_L2 };

// Mean (0 but for layer norms) and scale of a group.
template <norm_kind Kind> static __device__ inline float2 group_stats(const float *x, int n, float eps, float *shared) {
    float sum = 0, squares = 0;
    if (Kind == NORM_LAYER) {
        for (int i = threadIdx.x; i < n; i += blockDim.x) sum += x[i];
        sum = block_sum(sum, shared) / (float)n;
    }
    for (int i = threadIdx.x; i < n; i += blockDim.x) squares = fmaf(x[i] - sum, x[i] - sum, squares);
    squares = block_sum(squares, shared);
    float r = Kind == NORM_L2 ? 1.0f / fmaxf(sqrtf(squares), eps) : 1.0f / sqrtf(squares / (float)n + eps);
    return make_float2(sum, Kind == NORM_L2 && sqrtf(squares) <= eps ? -r : r); // negative: the length is a constant
}

template <norm_kind Kind> __global__ void norm_stats(const float *x, int n, float eps, float *stats) {
    __shared__ float shared[32];
    float2 s = group_stats<Kind>(x + (int64_t)blockIdx.x * n, n, eps, shared);
    if (threadIdx.x == 0) stats[2 * (int64_t)blockIdx.x] = s.x, stats[2 * (int64_t)blockIdx.x + 1] = s.y;
}

// A block has a group: dx = r (g - mean(g) - xhat mean(g xhat)), g = w dy; without the first mean but for layer norms.
template <norm_kind Kind>
__global__ void norm_dx(const float *dy, const float *x, const float *w, int n, float eps, float *dx) {
    __shared__ float shared[32];
    dy += (int64_t)blockIdx.x * n, x += (int64_t)blockIdx.x * n, dx += (int64_t)blockIdx.x * n;
    float2 s = group_stats<Kind>(x, n, eps, shared);
    float r = fabsf(s.y), level = 0, pull = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        float g = Kind == NORM_L2 ? dy[i] : dy[i] * w[i];
        level += g;
        pull = fmaf(g, (x[i] - s.x) * r, pull);
    }
    pull = block_sum(pull, shared);
    level = Kind == NORM_LAYER ? block_sum(level, shared) / (float)n : 0.0f;
    pull = Kind == NORM_L2 ? (s.y > 0 ? pull : 0.0f) : pull / (float)n;
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        float g = Kind == NORM_L2 ? dy[i] : dy[i] * w[i];
        dx[i] = r * (g - level - (x[i] - s.x) * r * pull);
    }
}

static int norm_threads(int width) {
    int threads = (width / 4 + 31) / 32 * 32;
    return threads < 32 ? 32 : threads > 1024 ? 1024 : threads;
}

template <norm_kind Kind> static cudaError_t norm_dx_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    int64_t columns = in_columns(args, 0), group = args->node->attrs.norm.group;
    int n = (int)(group ? group : columns);
    norm_dx<Kind><<<(unsigned)(args->rows * (columns / n)), norm_threads(n), 0, stream>>>(
        in_rows(args, 0), in_rows(args, 1), Kind == NORM_L2 ? NULL : in_vector(args, 2), n, args->node->attrs.norm.eps,
        out_rows(args, 0));
    return cudaGetLastError();
}

template <norm_kind Kind> static cudaError_t norm_dw_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    sum_args p = {};
    p.dy = in_rows(args, 0);
    p.x = in_rows(args, 1);
    p.grad = grad_of(args, 2);
    p.rows = args->rows;
    p.width = (int)args->node->attrs2.grad.elements;
    p.groups = (int)(in_columns(args, 0) / p.width);
    p.partial = static_cast<float *>(args->scratch);
    float *stats = p.partial + partial_bytes(args->rows, p.width) / sizeof(float);
    p.stats = stats;
    norm_stats<Kind><<<(unsigned)(p.rows * p.groups), norm_threads(p.width), 0, stream>>>(
        p.x, p.width, args->node->attrs.norm.eps, stats);
    return launch_sum(&p, stream);
}

static size_t norm_dw_scratch(const mosa_graph *graph, const mosa_node *node, int64_t max_rows, int64_t) {
    int64_t width = node->attrs2.grad.elements, groups = graph->values[node->in[0]].shape.dim[1] / width;
    return partial_bytes(max_rows, width) + align_up((size_t)(max_rows * groups) * 2 * sizeof(float));
}

// --- rows by number -------------------------------------------------------------------------------------------------

// to[number] (+)= sum of dy[r] over numbers[r] == number, r ascending. A block has a row of dy and works when that is
// the first of its number, or (scatter) a row of the result.
__global__ void add_rows(const float *dy, const int32_t *numbers, int count, int64_t columns, float *to, bool scatter) {
    __shared__ unsigned found[8];
    int number = scatter ? (int)blockIdx.x : numbers[blockIdx.x], begin = scatter ? 0 : (int)blockIdx.x;
    bool earlier = false;
    for (int i = threadIdx.x; i < begin; i += blockDim.x) earlier |= numbers[i] == number;
    if (__syncthreads_or(earlier)) return;
    float *row = to + number * columns;
    if (scatter)
        for (int64_t c = threadIdx.x; c < columns; c += blockDim.x) row[c] = 0;
    for (int base = begin; base < count; base += blockDim.x) {
        int i = base + threadIdx.x;
        unsigned mask = __ballot_sync(0xffffffffu, i < count && numbers[i] == number);
        if (threadIdx.x % 32 == 0) found[threadIdx.x / 32] = mask;
        __syncthreads();
        for (int w = 0; w < 8; w++)
            for (unsigned left = found[w]; left; left &= left - 1) {
                const float *from = dy + (int64_t)(base + w * 32 + __ffs(left) - 1) * columns;
                for (int64_t c = threadIdx.x; c < columns; c += blockDim.x) row[c] += from[c];
            }
        __syncthreads();
    }
}

static cudaError_t embed_dw_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    add_rows<<<(unsigned)args->rows, 256, 0, stream>>>(in_rows(args, 0), static_cast<const int32_t *>(args->in[1]),
                                                       args->rows, in_columns(args, 0), grad_of(args, 2), false);
    return cudaGetLastError();
}

static cudaError_t scatter_rows_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    int64_t from = in_value(args, 0)->shape.dim[0];
    if (from == MOSA_ROWS) from = args->batch->rows;
    add_rows<<<(unsigned)args->rows, 256, 0, stream>>>(in_rows(args, 0), static_cast<const int32_t *>(args->in[1]),
                                                       (int)from, in_columns(args, 0), out_rows(args, 0), true);
    return cudaGetLastError();
}

// --- elementwise ----------------------------------------------------------------------------------------------------

static __device__ inline float slope(mosa_act kind, float x) {
    float s = 1.0f / (1.0f + expf(-x));
    switch (kind) {
    case MOSA_ACT_SILU:
        return s * (1.0f + x * (1.0f - s));
    case MOSA_ACT_GELU:
        return 0.5f * (1.0f + erff(x * 0.70710678118654752f)) + x * 0.3989422804014327f * expf(-0.5f * (x * x));
    case MOSA_ACT_GELU_TANH: {
        const float a = 0.79788456080286536f, b = 0.044715f;
        float u = a * fmaf(b * (x * x), x, x), t = 1.0f / (1.0f + expf(-2.0f * u));
        return t + 2.0f * x * t * (1.0f - t) * (a * fmaf(3.0f * b, x * x, 1.0f));
    }
    case MOSA_ACT_RELU:
        return x > 0 ? 1 : 0;
    case MOSA_ACT_SIGMOID:
        return s * (1.0f - s);
    case MOSA_ACT_TANH: {
        float y = tanhf(x);
        return 1.0f - y * y;
    }
    default:
        return 1;
    }
}

__global__ void act_dx(const float *dy, const float *x, float *dx, mosa_act kind, int64_t n) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) dx[i] = dy[i] * slope(kind, x[i]);
}

static cudaError_t act_dx_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    int64_t n = args->rows * in_columns(args, 0);
    act_dx<<<blocks_of(n, 256), 256, 0, stream>>>(in_rows(args, 0), in_rows(args, 1), out_rows(args, 0),
                                                  args->node->attrs.act.kind, n);
    return cudaGetLastError();
}

// Where a number is clamped it has no slope.
__global__ void gated_act_dx(const float *dy, const float *gate, const float *up, float *dgate, float *dup,
                             mosa_act kind, float limit, int64_t n) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float a, b, g = gate[i], u = up[i];
    if (kind == MOSA_ACT_CLAMPED_SWIGLU) {
        float gc = g > limit ? limit : g, uc = u > limit ? limit : u < -limit ? -limit : u;
        float s = 1.0f / (1.0f + expf(gc * -1.702f));
        a = g > limit ? 0 : (uc + 1.0f) * s * (1.0f + 1.702f * gc * (1.0f - s));
        b = u > limit || u < -limit ? 0 : gc * s;
    } else {
        a = slope(kind, g) * u;
        b = activate(kind, g);
    }
    dgate[i] = dy[i] * a;
    dup[i] = dy[i] * b;
}

static cudaError_t gated_act_dx_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    int64_t n = args->rows * in_columns(args, 0);
    gated_act_dx<<<blocks_of(n, 256), 256, 0, stream>>>(in_rows(args, 0), in_rows(args, 1), in_rows(args, 2),
                                                        out_rows(args, 0), out_rows(args, 1),
                                                        args->node->attrs.act.kind, args->node->attrs.act.limit, n);
    return cudaGetLastError();
}

__global__ void round_rows(const float *x, float *y, bool f16, int64_t n) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float v = x[i];
    y[i] = f16 ? __half2float(__float2half_rn(v > 65504.0f    ? 65504.0f
                                              : v < -65504.0f ? -65504.0f
                                                              : v))
               : __bfloat162float(__float2bfloat16_rn(v));
}

static cudaError_t round_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    int64_t n = args->rows * in_columns(args, 0);
    round_rows<<<blocks_of(n, 256), 256, 0, stream>>>(in_rows(args, 0), out_rows(args, 0),
                                                      args->node->attrs.round.dtype == MOSA_F16, n);
    return cudaGetLastError();
}

__global__ void unslice(const float *dy, float *dx, int64_t width, int64_t group, int64_t begin, int64_t count,
                        int64_t total) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) return;
    int64_t row = i / width, c = i % width, at = c % group - begin;
    dx[i] = at >= 0 && at < count ? dy[row * (width / group * count) + c / group * count + at] : 0.0f;
}

static cudaError_t unslice_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    int64_t width = args->node->attrs2.slice.count, group = args->node->attrs.slice.group;
    int64_t total = args->rows * width;
    unslice<<<blocks_of(total, 256), 256, 0, stream>>>(in_rows(args, 0), out_rows(args, 0), width,
                                                       group ? group : width, args->node->attrs.slice.begin,
                                                       args->node->attrs.slice.count, total);
    return cudaGetLastError();
}

// The transposed rotation: (a, b) becomes (a cos + b sin, b cos - a sin).
__global__ void rope_dx(const float *dy, const float *table, float *dx, int columns, int width, int rot, int halves,
                        int64_t total) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) return;
    int64_t row = i / columns;
    int c = (int)(i % columns) % width;
    float v = dy[i];
    if (c < rot) {
        int half = rot / 2;
        bool second = halves ? c >= half : c % 2;
        int pair = halves ? c % half : c / 2;
        float other = dy[i + (second ? -1 : 1) * (halves ? half : 1)];
        float cosine = table[row * rot + pair], sine = table[row * rot + half + pair];
        v = second ? __fsub_rn(__fmul_rn(v, cosine), __fmul_rn(other, sine))
                   : __fadd_rn(__fmul_rn(v, cosine), __fmul_rn(other, sine));
    }
    dx[i] = v;
}

static cudaError_t rope_dx_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    const mosa_attrs *attrs = &args->node->attrs;
    int columns = (int)in_columns(args, 0);
    int64_t total = (int64_t)args->rows * columns;
    rope_dx<<<blocks_of(total, 256), 256, 0, stream>>>(in_rows(args, 0), in_rows(args, 1), out_rows(args, 0), columns,
                                                       attrs->rope.head_width, attrs->rope.rot,
                                                       attrs->rope.style == MOSA_ROPE_HALF, total);
    return cudaGetLastError();
}

void mosa_cuda_kernels_grad(mosa_cuda_kernel table[MOSA_OP_COUNT]) {
    table[MOSA_OP_ROUND].launch = round_launch;
    table[MOSA_OP_LORA_ADD].launch = lora_add_launch;
    table[MOSA_OP_LINEAR_CE] = mosa_cuda_kernel{linear_ce_launch, linear_ce_scratch};
    table[MOSA_OP_LINEAR_DX] = mosa_cuda_kernel{linear_dx_launch, linear_dx_scratch};
    table[MOSA_OP_LINEAR_DW] = mosa_cuda_kernel{linear_dw_launch, linear_dw_scratch};
    table[MOSA_OP_ROWS_SUM] = mosa_cuda_kernel{rows_sum_launch, rows_sum_scratch};
    table[MOSA_OP_EMBED_DW].launch = embed_dw_launch;
    table[MOSA_OP_SCATTER_ROWS].launch = scatter_rows_launch;
    table[MOSA_OP_RMS_NORM_DX].launch = norm_dx_launch<NORM_RMS>;
    table[MOSA_OP_RMS_NORM_DW] = mosa_cuda_kernel{norm_dw_launch<NORM_RMS>, norm_dw_scratch};
    table[MOSA_OP_LAYER_NORM_DX].launch = norm_dx_launch<NORM_LAYER>;
    table[MOSA_OP_LAYER_NORM_DW] = mosa_cuda_kernel{norm_dw_launch<NORM_LAYER>, norm_dw_scratch};
    table[MOSA_OP_L2_NORM_DX].launch = norm_dx_launch<NORM_L2>;
    table[MOSA_OP_ACT_DX].launch = act_dx_launch;
    table[MOSA_OP_GATED_ACT_DX].launch = gated_act_dx_launch;
    table[MOSA_OP_UNSLICE].launch = unslice_launch;
    table[MOSA_OP_ROPE_DX].launch = rope_dx_launch;
}
