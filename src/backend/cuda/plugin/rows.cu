// Ops on rows: norms, elementwise ops, row movement, rotary tables, and the bf16 copies that LINEAR reads.
//
// Rows of activations are contiguous and aligned to 64 bytes, so elementwise ops run over flat arrays in words of four
// floats. A norm gives a block to each group of columns; its threads are a function of the group's width alone, and so
// is the order of its sums. Norms and GATED_ACT can also write the bf16 row (rows.h).
#include "backend/cuda/plugin/cuda_rows.h"
#include "backend/cuda/plugin/device.cuh"
#include "backend/cuda/plugin/linear_device.cuh"
#include "backend/cuda/plugin/linear_launch.cuh"
#include "backend/cuda/plugin/rows.h"

// --- norms ----------------------------------------------------------------------------------------------------------

typedef struct norm_args {
    const float *a, *b; // x = a (+ b)
    const float *w, *bias;
    float *s, *y;          // x, when b is there; the normed row, or NULL
    __nv_bfloat16 *packed; // the normed row as bf16, or NULL
    int64_t packed_stride; // elements, of a whole row
    int width, groups;     // columns of a group, groups of a row
    float eps;
} norm_args;

enum norm_kind { NORM_RMS, NORM_LAYER, NORM_L2 };

static __device__ inline float4 load4(const float *p, int64_t i) {
    return reinterpret_cast<const float4 *>(p)[i];
}

static __device__ inline void store_bf16(__nv_bfloat16 *to, int i, float4 v) {
    __nv_bfloat162 low = __floats2bfloat162_rn(v.x, v.y), high = __floats2bfloat162_rn(v.z, v.w);
    uint2 word;
    word.x = *reinterpret_cast<unsigned *>(&low);
    word.y = *reinterpret_cast<unsigned *>(&high);
    reinterpret_cast<uint2 *>(to)[i] = word;
}

// Widths that are multiples of four: one word of four columns per step.
template <norm_kind Kind> __global__ void norm4(norm_args p) {
    linear_dependents_may_start();
    linear_wait_for_previous();
    __shared__ float shared[32];
    const int64_t at = (int64_t)blockIdx.x * p.width;
    const int words = p.width / 4;
    const float *a = p.a + at, *b = p.b ? p.b + at : NULL;
    float sum = 0, squares = 0;
    for (int i = threadIdx.x; i < words; i += blockDim.x) {
        float4 v = load4(a, i);
        if (b) {
            float4 u = load4(b, i);
            v = make_float4(v.x + u.x, v.y + u.y, v.z + u.z, v.w + u.w);
            reinterpret_cast<float4 *>(p.s + at)[i] = v;
        }
        if (Kind == NORM_LAYER)
            sum += (v.x + v.y) + (v.z + v.w);
        else
            squares += fmaf(v.x, v.x, v.y * v.y) + fmaf(v.z, v.z, v.w * v.w);
    }
    float mean = 0;
    if (Kind == NORM_LAYER) {
        mean = block_sum(sum, shared) / (float)p.width;
        for (int i = threadIdx.x; i < words; i += blockDim.x) {
            float4 v = load4(a, i);
            v = make_float4(v.x - mean, v.y - mean, v.z - mean, v.w - mean);
            squares += fmaf(v.x, v.x, v.y * v.y) + fmaf(v.z, v.z, v.w * v.w);
        }
    }
    squares = block_sum(squares, shared);
    float r = Kind == NORM_L2 ? 1.0f / fmaxf(sqrtf(squares), p.eps) : 1.0f / sqrtf(squares / (float)p.width + p.eps);
    const float *x = b ? p.s + at : a; // a thread reads back what it wrote
    int64_t packed_at = (int64_t)(blockIdx.x / p.groups) * p.packed_stride + (int64_t)(blockIdx.x % p.groups) * p.width;
    for (int i = threadIdx.x; i < words; i += blockDim.x) {
        float4 v = load4(x, i);
        v = make_float4((v.x - mean) * r, (v.y - mean) * r, (v.z - mean) * r, (v.w - mean) * r);
        if (Kind != NORM_L2) {
            float4 w = load4(p.w, i);
            v = make_float4(v.x * w.x, v.y * w.y, v.z * w.z, v.w * w.w);
        }
        if (Kind == NORM_LAYER && p.bias) {
            float4 u = load4(p.bias, i);
            v = make_float4(v.x + u.x, v.y + u.y, v.z + u.z, v.w + u.w);
        }
        if (p.y) reinterpret_cast<float4 *>(p.y + at)[i] = v;
        if (p.packed) store_bf16(p.packed + packed_at, i, v);
    }
}

// Any width: one column per step.
template <norm_kind Kind> __global__ void norm1(norm_args p) {
    linear_dependents_may_start();
    linear_wait_for_previous();
    __shared__ float shared[32];
    const int64_t at = (int64_t)blockIdx.x * p.width;
    const float *a = p.a + at, *b = p.b ? p.b + at : NULL;
    float sum = 0, squares = 0;
    for (int i = threadIdx.x; i < p.width; i += blockDim.x) {
        float v = b ? a[i] + b[i] : a[i];
        if (b) p.s[at + i] = v;
        sum += v;
        squares = fmaf(v, v, squares);
    }
    float mean = 0;
    if (Kind == NORM_LAYER) {
        mean = block_sum(sum, shared) / (float)p.width;
        squares = 0;
        for (int i = threadIdx.x; i < p.width; i += blockDim.x) squares = fmaf(a[i] - mean, a[i] - mean, squares);
    }
    squares = block_sum(squares, shared);
    float r = Kind == NORM_L2 ? 1.0f / fmaxf(sqrtf(squares), p.eps) : 1.0f / sqrtf(squares / (float)p.width + p.eps);
    const float *x = b ? p.s + at : a;
    int64_t packed_at = (int64_t)(blockIdx.x / p.groups) * p.packed_stride + (int64_t)(blockIdx.x % p.groups) * p.width;
    for (int i = threadIdx.x; i < p.width; i += blockDim.x) {
        float v = (x[i] - mean) * r;
        if (Kind != NORM_L2) v *= p.w[i];
        if (Kind == NORM_LAYER && p.bias) v += p.bias[i];
        if (p.y) p.y[at + i] = v;
        if (p.packed) p.packed[packed_at + i] = __float2bfloat16_rn(v);
    }
}

// The end of a packed row that holds no column is zero.
__global__ void zero_tails(__nv_bfloat16 *packed, int64_t stride, int64_t columns, int rows) {
    linear_dependents_may_start();
    linear_wait_for_previous();
    int64_t tail = stride - columns, i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < tail * rows) packed[i / tail * stride + columns + i % tail] = __float2bfloat16_rn(0.0f);
}

static cudaError_t finish_packed(const mosa_cuda_args *args, int64_t columns, const mosa_cuda_packed *packed,
                                 cudaStream_t stream) {
    int64_t tail = packed->stride / 2 - columns;
    if (tail > 0)
        (void)linear_launch_with(zero_tails, blocks_of(tail * args->rows, 256), 256, 0, stream,
                                 static_cast<__nv_bfloat16 *>(packed->rows), packed->stride / 2, columns, args->rows);
    return cudaGetLastError();
}

static int norm_threads(int width) { // of a group's width alone
    int threads = (width / 4 + 31) / 32 * 32;
    return threads < 32 ? 32 : threads > 1024 ? 1024 : threads;
}

template <norm_kind Kind>
static cudaError_t launch_norm(const mosa_cuda_args *args, norm_args p, const mosa_cuda_packed *packed,
                               cudaStream_t stream) {
    int64_t columns = in_columns(args, 0);
    p.width = (int)(args->node->attrs.norm.group ? args->node->attrs.norm.group : columns);
    p.groups = (int)(columns / p.width);
    p.eps = args->node->attrs.norm.eps;
    if (packed) {
        p.packed = static_cast<__nv_bfloat16 *>(packed->rows);
        p.packed_stride = packed->stride / 2;
        if (!packed->keep) p.y = NULL;
    }
    unsigned blocks = (unsigned)(args->rows * p.groups);
    if (p.width % 4 == 0)
        (void)linear_launch_with(norm4<Kind>, blocks, norm_threads(p.width), 0, stream, p);
    else
        (void)linear_launch_with(norm1<Kind>, blocks, norm_threads(p.width), 0, stream, p);
    return packed ? finish_packed(args, columns, packed, stream) : cudaGetLastError();
}

static cudaError_t rms_norm(const mosa_cuda_args *args, const mosa_cuda_packed *packed, cudaStream_t stream) {
    norm_args p = {};
    p.a = in_rows(args, 0);
    p.w = in_vector(args, 1);
    p.y = out_rows(args, 0);
    return launch_norm<NORM_RMS>(args, p, packed, stream);
}

static cudaError_t layer_norm(const mosa_cuda_args *args, const mosa_cuda_packed *packed, cudaStream_t stream) {
    norm_args p = {};
    p.a = in_rows(args, 0);
    p.w = in_vector(args, 1);
    p.bias = in_vector(args, 2);
    p.y = out_rows(args, 0);
    return launch_norm<NORM_LAYER>(args, p, packed, stream);
}

static cudaError_t add_rms_norm(const mosa_cuda_args *args, const mosa_cuda_packed *packed, cudaStream_t stream) {
    norm_args p = {};
    p.a = in_rows(args, 0);
    p.b = in_rows(args, 1);
    p.w = in_vector(args, 2);
    p.s = out_rows(args, 0);
    p.y = out_rows(args, 1);
    return launch_norm<NORM_RMS>(args, p, packed, stream);
}

static cudaError_t rms_norm_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    return rms_norm(args, NULL, stream);
}
static cudaError_t layer_norm_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    return layer_norm(args, NULL, stream);
}
static cudaError_t add_rms_norm_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    return add_rms_norm(args, NULL, stream);
}
static cudaError_t l2_norm_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    norm_args p = {};
    p.a = in_rows(args, 0);
    p.y = out_rows(args, 0);
    return launch_norm<NORM_L2>(args, p, NULL, stream);
}

// --- elementwise ----------------------------------------------------------------------------------------------------

typedef struct flat_args {
    const float *a, *b;
    float *y;
    int64_t n; // elements
    mosa_act kind;
    float value; // factor of SCALE, limit of GATED_ACT
} flat_args;

template <mosa_op Op> static __device__ inline float apply(const flat_args &p, float a, float b) {
    switch (Op) {
    case MOSA_OP_ADD:
        return a + b;
    case MOSA_OP_MUL:
        return a * b;
    case MOSA_OP_SCALE:
        return a * p.value;
    case MOSA_OP_ACT:
        return activate(p.kind, a);
    default:
        return gated(p.kind, p.value, a, b);
    }
}

template <mosa_op Op> __global__ void flat(flat_args p) {
    linear_dependents_may_start();
    linear_wait_for_previous();
    int64_t word = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (word * 4 + 3 < p.n) {
        float4 a = load4(p.a, word), b = p.b ? load4(p.b, word) : a;
        reinterpret_cast<float4 *>(p.y)[word] =
            make_float4(apply<Op>(p, a.x, b.x), apply<Op>(p, a.y, b.y), apply<Op>(p, a.z, b.z), apply<Op>(p, a.w, b.w));
        return;
    }
    for (int64_t i = word * 4; i < p.n; i++) p.y[i] = apply<Op>(p, p.a[i], p.b ? p.b[i] : 0.0f);
}

template <mosa_op Op> static cudaError_t launch_flat(const mosa_cuda_args *args, cudaStream_t stream) {
    flat_args p = {};
    p.a = in_rows(args, 0);
    p.b = args->node->n_in > 1 ? in_rows(args, 1) : NULL;
    p.y = out_rows(args, 0);
    p.n = (int64_t)args->rows * in_columns(args, 0);
    if (Op == MOSA_OP_SCALE) p.value = args->node->attrs.scale.value;
    if (Op == MOSA_OP_ACT || Op == MOSA_OP_GATED_ACT) {
        p.kind = args->node->attrs.act.kind;
        p.value = args->node->attrs.act.limit;
    }
    (void)linear_launch_with(flat<Op>, blocks_of((p.n + 3) / 4, 256), 256, 0, stream, p);
    return cudaGetLastError();
}

// GATED_ACT with a bf16 row: a thread has four columns of a row, the padding among them.
__global__ void gated_packed(flat_args p, __nv_bfloat16 *packed, int64_t packed_stride, int columns) {
    linear_dependents_may_start();
    linear_wait_for_previous();
    int64_t row = blockIdx.y;
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x) * 4;
    if (i >= packed_stride) return;
    const float *a = p.a + row * columns, *b = p.b + row * columns;
    float v[4];
    if (columns % 4 == 0 && i < columns) {
        float4 g = load4(a, i / 4), u = load4(b, i / 4);
        v[0] = gated(p.kind, p.value, g.x, u.x), v[1] = gated(p.kind, p.value, g.y, u.y);
        v[2] = gated(p.kind, p.value, g.z, u.z), v[3] = gated(p.kind, p.value, g.w, u.w);
    } else {
        for (int c = 0; c < 4; c++) v[c] = i + c < columns ? gated(p.kind, p.value, a[i + c], b[i + c]) : 0.0f;
    }
    store_bf16(packed + row * packed_stride, i / 4, make_float4(v[0], v[1], v[2], v[3]));
    if (p.y)
        for (int c = 0; c < 4 && i + c < columns; c++) p.y[row * columns + i + c] = v[c];
}

static cudaError_t gated_act(const mosa_cuda_args *args, const mosa_cuda_packed *packed, cudaStream_t stream) {
    flat_args p = {};
    int columns = (int)in_columns(args, 0);
    p.a = in_rows(args, 0);
    p.b = in_rows(args, 1);
    p.y = packed->keep ? out_rows(args, 0) : NULL;
    p.kind = args->node->attrs.act.kind;
    p.value = args->node->attrs.act.limit;
    dim3 grid(blocks_of(packed->stride / 8, 256), (unsigned)args->rows);
    (void)linear_launch_with(gated_packed, grid, 256, 0, stream, p, static_cast<__nv_bfloat16 *>(packed->rows),
                             packed->stride / 2, columns);
    return cudaGetLastError();
}

// --- bf16 rows ------------------------------------------------------------------------------------------------------

__global__ void to_bf16(const float *x, __nv_bfloat16 *packed, int64_t packed_stride, int64_t columns) {
    linear_dependents_may_start();
    linear_wait_for_previous();
    int64_t row = blockIdx.y, i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * 4;
    if (i >= packed_stride) return;
    const float *from = x + row * columns;
    float4 v;
    if (columns % 4 == 0 && i < columns)
        v = reinterpret_cast<const float4 *>(from)[i / 4];
    else
        v = make_float4(i < columns ? from[i] : 0.0f, i + 1 < columns ? from[i + 1] : 0.0f,
                        i + 2 < columns ? from[i + 2] : 0.0f, i + 3 < columns ? from[i + 3] : 0.0f);
    store_bf16(packed + row * packed_stride, (int)(i / 4), v);
}

cudaError_t mosa_cuda_quantize_rows_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    if (args->node->attrs.quantize.layout != MOSA_CUDA_ROWS_BF16) return cudaErrorNotSupported;
    int64_t stride = args->out_stride[0] / 2;
    dim3 grid(blocks_of(stride / 4, 256), (unsigned)args->rows);
    (void)linear_launch_with(to_bf16, grid, 256, 0, stream, in_rows(args, 0),
                             static_cast<__nv_bfloat16 *>(args->out[0]), stride, in_columns(args, 0));
    return cudaGetLastError();
}

cudaError_t mosa_cuda_packed_launch(const mosa_cuda_args *args, const mosa_cuda_packed *packed, cudaStream_t stream) {
    switch (args->node->op) {
    case MOSA_OP_RMS_NORM:
        return rms_norm(args, packed, stream);
    case MOSA_OP_LAYER_NORM:
        return layer_norm(args, packed, stream);
    case MOSA_OP_ADD_RMS_NORM:
        return add_rms_norm(args, packed, stream);
    case MOSA_OP_GATED_ACT:
        return gated_act(args, packed, stream);
    default:
        return cudaErrorNotSupported;
    }
}

// --- columns and rows moved -----------------------------------------------------------------------------------------

__global__ void slice(const float *x, float *y, int64_t columns, int64_t group, int64_t begin, int64_t count,
                      int64_t total) {
    linear_dependents_may_start();
    linear_wait_for_previous();
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, out_columns = columns / group * count;
    if (i >= total) return;
    int64_t row = i / out_columns, c = i % out_columns;
    y[i] = x[row * columns + c / count * group + begin + c % count];
}

static cudaError_t slice_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    int64_t columns = in_columns(args, 0), group = args->node->attrs.slice.group;
    int64_t count = args->node->attrs.slice.count;
    if (group == 0) group = columns;
    int64_t total = args->rows * (columns / group * count);
    (void)linear_launch_with(slice, blocks_of(total, 256), 256, 0, stream, in_rows(args, 0), out_rows(args, 0), columns,
                             group, args->node->attrs.slice.begin, count, total);
    return cudaGetLastError();
}

__global__ void join(const float *a, const float *b, float *y, int64_t a_width, int64_t b_width, int64_t total) {
    linear_dependents_may_start();
    linear_wait_for_previous();
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, width = a_width + b_width;
    if (i >= total) return;
    int64_t group = i / width, c = i % width; // groups of all rows follow each other
    y[i] = c < a_width ? a[group * a_width + c] : b[group * b_width + c - a_width];
}

static cudaError_t join_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    int64_t groups = args->node->attrs.join.groups, a = in_columns(args, 0) / groups, b = in_columns(args, 1) / groups;
    int64_t total = args->rows * groups * (a + b);
    (void)linear_launch_with(join, blocks_of(total, 256), 256, 0, stream, in_rows(args, 0), in_rows(args, 1),
                             out_rows(args, 0), a, b, total);
    return cudaGetLastError();
}

__global__ void gather(const float *x, const int32_t *index, float *y, int64_t columns) {
    linear_dependents_may_start();
    linear_wait_for_previous();
    const float *from = x + index[blockIdx.x] * columns;
    for (int64_t i = threadIdx.x; i < columns; i += blockDim.x) y[blockIdx.x * columns + i] = from[i];
}

cudaError_t mosa_cuda_gather_rows(const float *x, const int32_t *index, float *y, int64_t columns, int rows,
                                  cudaStream_t stream) {
    (void)linear_launch_with(gather, (unsigned)rows, 256, 0, stream, x, index, y, columns);
    return cudaGetLastError();
}

static cudaError_t gather_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    return mosa_cuda_gather_rows(in_rows(args, 0), static_cast<const int32_t *>(args->in[1]), out_rows(args, 0),
                                 in_columns(args, 0), args->rows, stream);
}

// --- rotary position ------------------------------------------------------------------------------------------------

// As the reference: the f32 product of position and frequency, and its cosine and sine rounded from double precision.
__global__ void rope_table(const int32_t *positions, const float *inv_freq, float *y, int half, float mscale,
                           int64_t total) {
    linear_dependents_may_start();
    linear_wait_for_previous();
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) return;
    int64_t row = i / half;
    int c = (int)(i % half);
    double sine, cosine;
    sincos((double)__fmul_rn((float)positions[row], inv_freq[c]), &sine, &cosine);
    y[row * 2 * half + c] = (float)cosine * mscale;
    y[row * 2 * half + half + c] = (float)sine * mscale;
}

static cudaError_t rope_table_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    int half = args->node->attrs.rope_table.rot / 2;
    int64_t total = (int64_t)args->rows * half;
    (void)linear_launch_with(rope_table, blocks_of(total, 128), 128, 0, stream,
                             static_cast<const int32_t *>(args->in[0]), in_vector(args, 1), out_rows(args, 0), half,
                             args->node->attrs.rope_table.mscale, total);
    return cudaGetLastError();
}

__global__ void rope(const float *x, const float *table, float *y, int columns, int width, int rot, int halves,
                     int64_t total) {
    linear_dependents_may_start();
    linear_wait_for_previous();
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) return;
    int64_t row = i / columns;
    int c = (int)(i % columns) % width;
    float v = x[i];
    if (c < rot) {
        int half = rot / 2;
        bool second = halves ? c >= half : c % 2;
        int pair = halves ? c % half : c / 2;
        float other = x[i + (second ? -1 : 1) * (halves ? half : 1)];
        float cosine = table[row * rot + pair], sine = table[row * rot + half + pair];
        // (a, b) becomes (a cos - b sin, b cos + a sin), each product rounded
        v = second ? __fadd_rn(__fmul_rn(v, cosine), __fmul_rn(other, sine))
                   : __fsub_rn(__fmul_rn(v, cosine), __fmul_rn(other, sine));
    }
    y[i] = v;
}

static cudaError_t rope_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    const mosa_attrs *attrs = &args->node->attrs;
    int columns = (int)in_columns(args, 0);
    int64_t total = (int64_t)args->rows * columns;
    (void)linear_launch_with(rope, blocks_of(total, 256), 256, 0, stream, in_rows(args, 0), in_rows(args, 1),
                             out_rows(args, 0), columns, attrs->rope.head_width, attrs->rope.rot,
                             attrs->rope.style == MOSA_ROPE_HALF, total);
    return cudaGetLastError();
}

void mosa_cuda_kernels_rows(mosa_cuda_kernel table[MOSA_OP_COUNT]) {
    table[MOSA_OP_GATHER_ROWS].launch = gather_launch;
    table[MOSA_OP_RMS_NORM].launch = rms_norm_launch;
    table[MOSA_OP_LAYER_NORM].launch = layer_norm_launch;
    table[MOSA_OP_L2_NORM].launch = l2_norm_launch;
    table[MOSA_OP_ADD_RMS_NORM].launch = add_rms_norm_launch;
    table[MOSA_OP_ADD].launch = launch_flat<MOSA_OP_ADD>;
    table[MOSA_OP_MUL].launch = launch_flat<MOSA_OP_MUL>;
    table[MOSA_OP_SCALE].launch = launch_flat<MOSA_OP_SCALE>;
    table[MOSA_OP_ACT].launch = launch_flat<MOSA_OP_ACT>;
    table[MOSA_OP_GATED_ACT].launch = launch_flat<MOSA_OP_GATED_ACT>;
    table[MOSA_OP_SLICE].launch = slice_launch;
    table[MOSA_OP_JOIN].launch = join_launch;
    table[MOSA_OP_ROPE_TABLE].launch = rope_table_launch;
    table[MOSA_OP_ROPE].launch = rope_launch;
}
