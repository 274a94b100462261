// A plain kernel for every op that rows.cu does not have: right first, and quick enough to be used.
//
// LINEAR and EXPERT_LINEAR read the file's own bytes: a warp makes one output column for up to eight rows; lane l adds
// up columns l, l + 32, ... of K, then the lanes are added in a fixed tree. So an output depends on its row alone.
// ATTENTION gives a block to each row and head, which goes through the splits of the contract in order.
#include "backend/cuda/plugin/dequant.cuh"
#include "backend/cuda/plugin/device.cuh"
#include "backend/cuda/plugin/rows.h"

// --- tables and matrices --------------------------------------------------------------------------------------------

template <int Type>
__global__ void embed(const int32_t *ids, const unsigned char *table, int64_t row_bytes, int64_t columns, float *y) {
    const unsigned char *row = table + ids[blockIdx.x] * row_bytes;
    for (int64_t i = threadIdx.x; i < columns; i += blockDim.x) y[blockIdx.x * columns + i] = element<Type>(row, i);
}

static int64_t row_bytes_of(mosa_dtype dtype, int64_t k) {
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(dtype);
    return k / traits->block_len * traits->block_bytes;
}

static cudaError_t embed_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    const mosa_weight *w = in_weight(args, 1);
    int64_t columns = w->view.dims[1], row_bytes = row_bytes_of(w->view.dtype, columns);
    MOSA_CUDA_BY_TYPE(w->view.dtype, {
        embed<Type><<<(unsigned)args->rows, 256, 0, stream>>>(static_cast<const int32_t *>(args->in[0]),
                                                              static_cast<const unsigned char *>(w->table), row_bytes,
                                                              columns, out_rows(args, 0));
    })
    return cudaGetLastError();
}

typedef struct linear_args {
    const unsigned char *x, *w;
    int64_t x_stride, x_slot_stride, w_row_bytes, w_slice_bytes; // bytes
    const float *bias;
    float *y;
    int64_t y_stride;     // floats
    const int32_t *index; // of experts [T, slots], or NULL: matrix = slot
    int slots, rows;
    int64_t n, k;
    int bf16; // type of x
} linear_args;

enum { LINEAR_WARPS = 8, LINEAR_ROWS = 8 };

static __device__ inline float input_at(const linear_args &p, const unsigned char *row, int64_t i) {
    return p.bf16 ? __bfloat162float(reinterpret_cast<const __nv_bfloat16 *>(row)[i])
                  : reinterpret_cast<const float *>(row)[i];
}

// Grid: columns, rows, slots. Rows > 1 only without an index.
template <int Type, int Rows> __global__ void linear(linear_args p) {
    int64_t n = (int64_t)blockIdx.x * LINEAR_WARPS + threadIdx.x / 32;
    int lane = threadIdx.x % 32, row = blockIdx.y * Rows, slot = blockIdx.z;
    if (n >= p.n) return;
    int64_t matrix = p.index ? p.index[(int64_t)row * p.slots + slot] : slot;
    const unsigned char *w = p.w + matrix * p.w_slice_bytes + n * p.w_row_bytes;
    const unsigned char *x = p.x + row * p.x_stride + slot * p.x_slot_stride;
    float acc[Rows] = {};
    for (int64_t i = lane; i < p.k; i += 32) {
        float weight = element<Type>(w, i);
#pragma unroll
        for (int r = 0; r < Rows; r++)
            if (row + r < p.rows) acc[r] = fmaf(input_at(p, x + r * p.x_stride, i), weight, acc[r]);
    }
#pragma unroll
    for (int r = 0; r < Rows; r++) {
        float sum = warp_sum(acc[r]);
        if (lane != 0 || row + r >= p.rows) continue;
        if (p.bias) sum += p.bias[matrix * p.n + n];
        p.y[(row + r) * p.y_stride + slot * p.n + n] = sum;
    }
}

static cudaError_t launch_linear(const linear_args *p, mosa_dtype dtype, cudaStream_t stream) {
    unsigned blocks = blocks_of(p->n, LINEAR_WARPS);
    if (p->rows == 1 || p->index) {
        for (int begin = 0; begin < p->rows; begin += 65535) { // the most blocks of a grid's y
            linear_args part = *p;
            int rows = p->rows - begin < 65535 ? p->rows - begin : 65535;
            part.x += begin * p->x_stride;
            part.y += begin * p->y_stride;
            if (p->index) part.index += (int64_t)begin * p->slots;
            part.rows = rows;
            dim3 grid(blocks, (unsigned)rows, (unsigned)p->slots);
            MOSA_CUDA_BY_TYPE(dtype, { linear<Type, 1><<<grid, LINEAR_WARPS * 32, 0, stream>>>(part); })
        }
        return cudaGetLastError();
    }
    dim3 grid(blocks, blocks_of(p->rows, LINEAR_ROWS), (unsigned)p->slots);
    MOSA_CUDA_BY_TYPE(dtype, { linear<Type, LINEAR_ROWS><<<grid, LINEAR_WARPS * 32, 0, stream>>>(*p); })
    return cudaGetLastError();
}

static linear_args linear_args_of(const mosa_cuda_args *args) {
    const mosa_weight *w = in_weight(args, 1);
    linear_args p = {};
    p.x = static_cast<const unsigned char *>(args->in[0]);
    p.x_stride = args->in_stride[0];
    p.bf16 = in_value(args, 0)->dtype != MOSA_F32;
    p.w = static_cast<const unsigned char *>(w->table);
    p.k = w->view.dims[w->view.n_dims - 1];
    p.n = w->view.dims[w->view.n_dims - 2];
    p.w_row_bytes = row_bytes_of(w->view.dtype, p.k);
    p.w_slice_bytes = p.w_row_bytes * p.n;
    p.y = out_rows(args, 0);
    p.y_stride = args->out_stride[0] / (int64_t)sizeof(float);
    p.rows = args->rows;
    p.slots = 1;
    return p;
}

cudaError_t mosa_cuda_generic_linear_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    linear_args p = linear_args_of(args);
    p.bias = in_vector(args, 2);
    return launch_linear(&p, in_weight(args, 1)->view.dtype, stream);
}

cudaError_t mosa_cuda_generic_expert_linear_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    linear_args p = linear_args_of(args);
    bool indexed = args->node->n_in > 2;
    p.index = indexed ? static_cast<const int32_t *>(args->in[2]) : NULL;
    p.bias = in_vector(args, 3);
    p.slots = (int)(indexed ? in_columns(args, 2) : in_weight(args, 1)->view.dims[0]);
    int64_t element_bytes = p.bf16 ? 2 : 4;
    // An input of one K is shared by the slots; a packed row may be longer than its K by what fills it up.
    if (p.slots > 1 && args->in_stride[0] >= p.slots * p.k * element_bytes) p.x_slot_stride = p.k * element_bytes;
    return launch_linear(&p, in_weight(args, 1)->view.dtype, stream);
}

// --- pages ----------------------------------------------------------------------------------------------------------

typedef struct write_args {
    kv_view kv;
    const float *q, *k, *v, *table; // table NULL: nothing is rotated
    float *q_out;
    int q_columns, rot, halves;
    const mosa_cuda_segment *segments;
    const int32_t *pages, *row_segment;
} write_args;

static __device__ inline float rotated(const float *head, const float *table, int c, int rot, bool halves) {
    float v = head[c];
    if (c >= rot) return v;
    int half = rot / 2;
    bool second = halves ? c >= half : c % 2;
    int pair = halves ? c % half : c / 2;
    float other = head[c + (second ? -1 : 1) * (halves ? half : 1)], cosine = table[pair], sine = table[half + pair];
    return second ? __fadd_rn(__fmul_rn(v, cosine), __fmul_rn(other, sine))
                  : __fsub_rn(__fmul_rn(v, cosine), __fmul_rn(other, sine));
}

// A block has a row: rotated queries, then keys and values into the page of its position.
__global__ void write_rows(write_args p) {
    int64_t row = blockIdx.x;
    const mosa_cuda_segment segment = p.segments[p.row_segment[row]];
    int32_t position = segment.pos_begin + ((int32_t)row - segment.row_begin), slot = position % p.kv.page_tokens;
    const float *table = p.table ? p.table + row * p.rot : NULL;
    for (int i = threadIdx.x; i < p.q_columns; i += blockDim.x) {
        int c = i % p.kv.width;
        p.q_out[row * p.q_columns + i] = rotated(p.q + row * p.q_columns + i - c, table, c, p.rot, p.halves);
    }
    int k_columns = p.kv.kv_heads * p.kv.width, v_columns = p.kv.kv_heads * p.kv.value_width;
    for (int i = threadIdx.x; i < k_columns; i += blockDim.x) {
        int head = i / p.kv.width, c = i % p.kv.width;
        const float *from = p.k + row * k_columns + head * p.kv.width;
        float x = table ? rotated(from, table, c, p.rot, p.halves) : from[c];
        kv_store(kv_head(p.kv, p.pages, segment, position, head), p.kv.dtype, (int64_t)slot * p.kv.width + c, x);
    }
    for (int i = threadIdx.x; i < v_columns; i += blockDim.x) {
        int head = i / p.kv.value_width, c = i % p.kv.value_width;
        kv_store(kv_head(p.kv, p.pages, segment, position, head) + p.kv.v_offset, p.kv.dtype,
                 (int64_t)slot * p.kv.value_width + c, p.v[row * v_columns + i]);
    }
}

static write_args write_args_of(const mosa_cuda_args *args, const mosa_attrs *attention, int state) {
    write_args p = {};
    p.kv = kv_view_of(static_cast<const mosa_kv *>(args->in[state]), attention->attention.layer);
    p.segments = args->batch->segments;
    p.pages = args->batch->pages;
    p.row_segment = args->batch->row_segment;
    return p;
}

static cudaError_t kv_write_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    int state = args->node->n_in - 1;
    write_args p = write_args_of(args, &args->node->attrs, state);
    p.k = in_rows(args, 0);
    p.v = state > 1 ? in_rows(args, 1) : NULL;
    write_rows<<<(unsigned)args->rows, 256, 0, stream>>>(p);
    return cudaGetLastError();
}

static cudaError_t rope_kv_write_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    write_args p = write_args_of(args, &args->node->attrs2, 4);
    p.q = in_rows(args, 0);
    p.k = in_rows(args, 1);
    p.v = in_rows(args, 2);
    p.table = in_rows(args, 3);
    p.q_out = out_rows(args, 0);
    p.q_columns = (int)in_columns(args, 0);
    p.rot = args->node->attrs.rope.rot;
    p.halves = args->node->attrs.rope.style == MOSA_ROPE_HALF;
    write_rows<<<(unsigned)args->rows, 256, 0, stream>>>(p);
    return cudaGetLastError();
}

// --- attention ------------------------------------------------------------------------------------------------------

enum { ATTENTION_THREADS = 128, ATTENTION_COLUMNS = MOSA_HEAD_WIDTH_MAX / ATTENTION_THREADS };

typedef struct attention_args {
    const float *q, *k, *v, *sinks; // k, v: packed rows, or NULL
    float *y;
    kv_view kv; // kv.data NULL: packed
    int heads, kv_heads, width, value_width, window;
    bool causal, value_in_key;
    float scale, softcap;
    const mosa_cuda_segment *segments;
    const int32_t *pages, *row_segment;
} attention_args;

// Keys (values) of a position: element i is kv_load(at, dtype, i).
static __device__ inline const char *source_of(const attention_args &p, const mosa_cuda_segment &segment,
                                               int32_t position, int head, bool value) {
    value = value && !p.value_in_key;
    int width = value ? p.value_width : p.width;
    if (!p.kv.data) {
        int64_t row = segment.row_begin + (position - segment.pos_begin);
        return reinterpret_cast<const char *>((value ? p.v : p.k) + (row * p.kv_heads + head) * width);
    }
    const char *at = kv_head(p.kv, p.pages, segment, position, head) + (value ? p.kv.v_offset : 0);
    return at + (int64_t)(position % p.kv.page_tokens) * width * (p.kv.dtype == MOSA_F32 ? 4 : 2);
}

// What a row at `position` attends to: [*lo, *end).
static __device__ inline void visible(const attention_args &p, const mosa_cuda_segment &segment, int32_t position,
                                      int32_t *lo, int32_t *end) {
    *lo = p.kv.data ? 0 : segment.pos_begin;
    *end = p.causal ? position + 1 : segment.pos_begin + segment.row_count;
    if (p.window == 0) return;
    if (position - p.window + 1 > *lo) *lo = position - p.window + 1;
    if (p.window <= *end - position) *end = position + p.window;
}

__global__ void attention(attention_args p) {
    __shared__ float q[MOSA_HEAD_WIDTH_MAX], e[MOSA_ATTENTION_SPLIT], shared[32];
    int64_t row = blockIdx.x;
    int head = blockIdx.y, kv_head_number = head / (p.heads / p.kv_heads), lane = threadIdx.x % 32;
    const mosa_cuda_segment segment = p.segments[p.row_segment[row]];
    int32_t position = segment.pos_begin + ((int32_t)row - segment.row_begin), lo, end;
    visible(p, segment, position, &lo, &end);
    for (int c = threadIdx.x; c < p.width; c += blockDim.x) q[c] = p.q[(row * p.heads + head) * p.width + c];
    float max = -INFINITY, sum = 0, acc[ATTENTION_COLUMNS] = {};
    __syncthreads();
    for (int32_t at = lo; at < end;) {
        int32_t next = at - at % MOSA_ATTENTION_SPLIT + MOSA_ATTENTION_SPLIT;
        if (next > end) next = end;
        for (int32_t j = at + threadIdx.x / 32; j < next; j += ATTENTION_THREADS / 32) { // a warp has a position
            const char *key = source_of(p, segment, j, kv_head_number, false);
            float dot = 0;
            for (int c = lane; c < p.width; c += 32) dot = fmaf(q[c], kv_load(key, p.kv.dtype, c), dot);
            dot = warp_sum(dot) * p.scale;
            if (p.softcap > 0) dot = p.softcap * tanhf(dot / p.softcap);
            if (lane == 0) e[j - at] = dot;
        }
        __syncthreads();
        float m = -INFINITY, l = 0;
        for (int i = threadIdx.x; i < next - at; i += blockDim.x) m = fmaxf(m, e[i]);
        m = block_max(m, shared);
        for (int i = threadIdx.x; i < next - at; i += blockDim.x) {
            e[i] = expf(e[i] - m);
            l += e[i];
        }
        l = block_sum(l, shared); // ends with a barrier: all of e is there
        __syncthreads();
        float joined = fmaxf(max, m), f = expf(max - joined), g = expf(m - joined);
        float part[ATTENTION_COLUMNS] = {};
        for (int32_t j = at; j < next; j++) {
            const char *value = source_of(p, segment, j, kv_head_number, true);
#pragma unroll
            for (int i = 0; i < ATTENTION_COLUMNS; i++) {
                int c = threadIdx.x + i * ATTENTION_THREADS;
                if (c < p.value_width) part[i] = fmaf(e[j - at], kv_load(value, p.kv.dtype, c), part[i]);
            }
        }
        sum = sum * f + l * g;
#pragma unroll
        for (int i = 0; i < ATTENTION_COLUMNS; i++) acc[i] = acc[i] * f + part[i] * g;
        max = joined;
        at = next;
        __syncthreads();
    }
    float f = 1;
    if (p.sinks) {
        float joined = fmaxf(max, p.sinks[head]);
        f = expf(max - joined);
        sum = sum * f + expf(p.sinks[head] - joined);
    }
#pragma unroll
    for (int i = 0; i < ATTENTION_COLUMNS; i++) {
        int c = threadIdx.x + i * ATTENTION_THREADS;
        if (c < p.value_width) p.y[(row * p.heads + head) * p.value_width + c] = acc[i] * f * (1.0f / sum);
    }
}

static cudaError_t attention_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    const mosa_attrs *a = &args->node->attrs;
    attention_args p = {};
    p.q = in_rows(args, 0);
    p.y = out_rows(args, 0);
    p.heads = a->attention.heads;
    p.kv_heads = a->attention.kv_heads;
    p.width = a->attention.head_width;
    p.value_width = mosa_attention_value_width(a);
    p.value_in_key = a->attention.value_in_key;
    p.window = a->attention.window;
    p.causal = a->attention.causal;
    p.scale = a->attention.scale;
    p.softcap = a->attention.softcap;
    p.segments = args->batch->segments;
    p.pages = args->batch->pages;
    p.row_segment = args->batch->row_segment;
    int sinks = mosa_attention_sinks(args->graph, args->node);
    if (sinks >= 0) p.sinks = in_vector(args, sinks);
    if (mosa_attention_paged(args->graph, args->node)) {
        p.kv = kv_view_of(static_cast<const mosa_kv *>(args->in[1]), a->attention.layer);
    } else {
        p.kv.dtype = MOSA_F32;
        p.k = in_rows(args, 1);
        p.v = p.value_in_key ? NULL : in_rows(args, 2);
    }
    attention<<<dim3((unsigned)args->rows, (unsigned)p.heads), ATTENTION_THREADS, 0, stream>>>(p);
    return cudaGetLastError();
}

// --- experts --------------------------------------------------------------------------------------------------------

typedef struct route_args {
    const float *logits, *bias;
    int32_t *index;
    float *weight;
    int experts, top_k, groups, top_groups, group_best;
    mosa_scoring scoring;
    bool normalise;
    float scale;
} route_args;

// The number of the largest value that is not out, the first of equals, for a warp. A NaN counts as the least.
static __device__ inline int warp_largest(const float *values, const bool *out, int n) {
    float best = -INFINITY;
    int at = INT32_MAX;
    for (int i = threadIdx.x; i < n; i += 32)
        if (!out[i] && (at == INT32_MAX || values[i] > best)) best = values[i], at = i;
    for (int offset = 16; offset > 0; offset /= 2) {
        float other = __shfl_xor_sync(0xffffffffu, best, offset);
        int other_at = __shfl_xor_sync(0xffffffffu, at, offset);
        bool take = at == INT32_MAX || other > best || (!(best > other) && other_at < at);
        if (other_at != INT32_MAX && take) best = other, at = other_at;
    }
    return __shfl_sync(0xffffffffu, at, 0);
}

static __device__ void leave_groups(const route_args &p, const float *choice, float *group, bool *out, bool *taken) {
    int width = p.experts / p.groups;
    for (int g = threadIdx.x; g < p.groups; g += 32) {
        float first = choice[g * width], second = -INFINITY;
        for (int i = 1; i < width; i++) {
            float v = choice[g * width + i];
            if (v > first)
                second = first, first = v;
            else if (v > second)
                second = v;
        }
        group[g] = p.group_best == 2 ? first + second : first;
        taken[g] = false;
    }
    for (int e = threadIdx.x; e < p.experts; e += 32) out[e] = true;
    __syncwarp();
    for (int i = 0; i < p.top_groups; i++) {
        int g = warp_largest(group, taken, p.groups);
        __syncwarp();
        if (threadIdx.x == 0) taken[g] = true;
        for (int e = threadIdx.x; e < width; e += 32) out[g * width + e] = false;
        __syncwarp();
    }
}

// A warp has a row.
__global__ void route(route_args p) {
    __shared__ float score[MOSA_EXPERTS_MAX], choice[MOSA_EXPERTS_MAX], group[MOSA_EXPERTS_MAX];
    __shared__ bool out[MOSA_EXPERTS_MAX], taken[MOSA_EXPERTS_MAX];
    int64_t row = blockIdx.x;
    const float *logits = p.logits + row * p.experts;
    float max = -INFINITY, sum = 0;
    for (int e = threadIdx.x; e < p.experts; e += 32) max = fmaxf(max, logits[e]);
    max = warp_max(max);
    for (int e = threadIdx.x; e < p.experts; e += 32) {
        float x = logits[e];
        if (p.scoring == MOSA_SCORE_SOFTMAX) x = expf(x - max);
        if (p.scoring == MOSA_SCORE_SIGMOID) x = 1.0f / (1.0f + expf(-x));
        score[e] = x;
        sum += x;
    }
    sum = warp_sum(sum);
    for (int e = threadIdx.x; e < p.experts; e += 32) {
        if (p.scoring == MOSA_SCORE_SOFTMAX) score[e] /= sum;
        choice[e] = p.bias ? score[e] + p.bias[e] : score[e];
        out[e] = false;
    }
    __syncwarp();
    if (p.groups) leave_groups(p, choice, group, out, taken);
    for (int i = 0; i < p.top_k; i++) {
        int e = warp_largest(choice, out, p.experts);
        __syncwarp();
        if (threadIdx.x == 0) {
            out[e] = true;
            p.index[row * p.top_k + i] = e;
            group[i] = score[e]; // the groups are done with
        }
        __syncwarp();
    }
    if (threadIdx.x != 0) return;
    float *weight = p.weight + row * p.top_k, total = 0;
    if (p.scoring == MOSA_SCORE_SOFTMAX_CHOSEN) {
        float best = group[0];
        for (int i = 1; i < p.top_k; i++) best = fmaxf(best, group[i]);
        for (int i = 0; i < p.top_k; i++) total += group[i] = expf(group[i] - best);
        for (int i = 0; i < p.top_k; i++) group[i] /= total;
        total = 0;
    }
    for (int i = 0; i < p.top_k; i++) total += group[i];
    for (int i = 0; i < p.top_k; i++) weight[i] = (p.normalise ? group[i] / (total + 1e-20f) : group[i]) * p.scale;
}

static cudaError_t route_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    const mosa_attrs *a = &args->node->attrs;
    route_args p = {};
    p.logits = in_rows(args, 0);
    p.bias = in_vector(args, 1);
    p.index = static_cast<int32_t *>(args->out[0]);
    p.weight = out_rows(args, 1);
    p.experts = (int)in_columns(args, 0);
    p.top_k = a->moe_route.top_k;
    p.groups = a->moe_route.groups;
    p.top_groups = a->moe_route.top_groups;
    p.group_best = a->moe_route.group_best;
    p.scoring = a->moe_route.scoring;
    p.normalise = a->moe_route.normalise;
    p.scale = a->moe_route.scale;
    route<<<(unsigned)args->rows, 32, 0, stream>>>(p);
    return cudaGetLastError();
}

__global__ void combine(const float *x, const float *weight, float *y, int64_t width, int slots, int64_t total) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) return;
    int64_t row = i / width, c = i % width;
    float acc = 0;
    for (int s = 0; s < slots; s++) acc = fmaf(weight[row * slots + s], x[(row * slots + s) * width + c], acc);
    y[i] = acc;
}

static cudaError_t combine_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    int slots = (int)in_columns(args, 1);
    int64_t width = in_columns(args, 0) / slots, total = args->rows * width;
    combine<<<blocks_of(total, 256), 256, 0, stream>>>(in_rows(args, 0), in_rows(args, 1), out_rows(args, 0), width,
                                                       slots, total);
    return cudaGetLastError();
}

// --- adapters -------------------------------------------------------------------------------------------------------

typedef struct lora_args {
    const float *y, *x;
    float *out, *u;
    int64_t n, k;
    int max_rank, target;
    const mosa_cuda_segment *segments;
    const int32_t *row_segment;
    const mosa_cuda_lora *const *adapters;
} lora_args;

static __device__ inline const mosa_cuda_lora *lora_of(const lora_args &p, int64_t row) {
    int adapter = p.segments[p.row_segment[row]].adapter;
    return adapter ? &p.adapters[adapter - 1][p.target] : NULL;
}

// u[j] = s * sum over k of x[k] A[j,k]; grid: rows, ranks by eight warps.
__global__ void lora_shrink(lora_args p) {
    int64_t row = blockIdx.x;
    int j = blockIdx.y * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
    const mosa_cuda_lora *lora = lora_of(p, row);
    if (!lora || j >= lora->rank) return;
    const float *a = lora->a + j * p.k, *x = p.x + row * p.k;
    float acc = 0;
    for (int64_t i = lane; i < p.k; i += 32) acc = fmaf(x[i], a[i], acc);
    acc = warp_sum(acc);
    if (lane == 0) p.u[row * p.max_rank + j] = lora->scale * acc;
}

// out[n] = y[n] + sum over j of u[j] B[n,j]; grid: columns, rows.
__global__ void lora_expand(lora_args p) {
    int64_t row = blockIdx.y, n = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (n >= p.n) return;
    const mosa_cuda_lora *lora = lora_of(p, row);
    float acc = p.y[row * p.n + n];
    int rank = lora ? lora->rank : 0;
    for (int j = 0; j < rank; j++) acc = fmaf(p.u[row * p.max_rank + j], lora->b[n * rank + j], acc);
    p.out[row * p.n + n] = acc;
}

static cudaError_t lora_launch(const mosa_cuda_args *args, cudaStream_t stream) {
    lora_args p = {};
    p.y = in_rows(args, 0);
    p.x = in_rows(args, 1);
    p.out = out_rows(args, 0);
    p.u = out_rows(args, 1);
    p.n = in_columns(args, 0);
    p.k = in_columns(args, 1);
    p.max_rank = args->node->attrs.lora.rank;
    p.target = args->node->attrs.lora.target;
    p.segments = args->batch->segments;
    p.row_segment = args->batch->row_segment;
    p.adapters = args->batch->adapters;
    lora_shrink<<<dim3((unsigned)args->rows, blocks_of(p.max_rank, 8)), 256, 0, stream>>>(p);
    lora_expand<<<dim3(blocks_of(p.n, 256), (unsigned)args->rows), 256, 0, stream>>>(p);
    return cudaGetLastError();
}

void mosa_cuda_kernels_generic(mosa_cuda_kernel table[MOSA_OP_COUNT]) {
    for (int i = 0; i < MOSA_OP_COUNT; i++) table[i] = mosa_cuda_kernel{NULL, NULL};
    mosa_cuda_kernels_rows(table);
    table[MOSA_OP_EMBED].launch = embed_launch;
    table[MOSA_OP_LINEAR].launch = mosa_cuda_generic_linear_launch;
    table[MOSA_OP_LORA].launch = lora_launch;
    table[MOSA_OP_KV_WRITE].launch = kv_write_launch;
    table[MOSA_OP_ROPE_KV_WRITE].launch = rope_kv_write_launch;
    table[MOSA_OP_ATTENTION].launch = attention_launch;
    table[MOSA_OP_MOE_ROUTE].launch = route_launch;
    table[MOSA_OP_EXPERT_LINEAR].launch = mosa_cuda_generic_expert_linear_launch;
    table[MOSA_OP_MOE_COMBINE].launch = combine_launch;
}
