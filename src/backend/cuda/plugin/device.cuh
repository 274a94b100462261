// What the kernels of this folder share: operands, sums in a fixed order, activations.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_DEVICE_CUH
#define MOSA_BACKEND_CUDA_PLUGIN_DEVICE_CUH

#include "backend/cuda/plugin/cuda_kernel.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

// --- operands, on the host ------------------------------------------------------------------------------------------

static inline const mosa_value_info *in_value(const mosa_cuda_args *args, int operand) {
    return &args->graph->values[args->node->in[operand]];
}
static inline int64_t in_columns(const mosa_cuda_args *args, int operand) { // of rows [T,n]
    return in_value(args, operand)->shape.dim[1];
}
static inline const float *in_vector(const mosa_cuda_args *args, int operand) { // a weight or an activation
    if (operand >= args->node->n_in) return NULL;
    if (in_value(args, operand)->kind == MOSA_VALUE_WEIGHT)
        return static_cast<const mosa_weight *>(args->in[operand])->vector;
    return static_cast<const float *>(args->in[operand]);
}
static inline const mosa_weight *in_weight(const mosa_cuda_args *args, int operand) {
    return static_cast<const mosa_weight *>(args->in[operand]);
}
static inline const float *in_rows(const mosa_cuda_args *args, int operand) {
    return static_cast<const float *>(args->in[operand]);
}
static inline float *out_rows(const mosa_cuda_args *args, int output) {
    return static_cast<float *>(args->out[output]);
}
static inline unsigned blocks_of(int64_t items, int64_t per_block) {
    return (unsigned)((items + per_block - 1) / per_block);
}

// --- sums -----------------------------------------------------------------------------------------------------------

static __device__ inline float warp_sum(float x) { // every lane gets the same bits
    for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
    return x;
}

static __device__ inline float warp_max(float x) {
    for (int offset = 16; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, offset));
    return x;
}

// Of a block of whole warps; `shared` holds 32 floats and may be used again after the call.
static __device__ inline float block_sum(float x, float *shared) {
    x = warp_sum(x);
    if (blockDim.x <= 32) return x;
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    x = threadIdx.x % 32 < blockDim.x / 32 ? shared[threadIdx.x % 32] : 0.0f;
    x = warp_sum(x);
    __syncthreads();
    return x;
}

static __device__ inline float block_max(float x, float *shared) {
    x = warp_max(x);
    if (blockDim.x <= 32) return x;
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    x = shared[threadIdx.x % 32 < blockDim.x / 32 ? threadIdx.x % 32 : 0];
    x = warp_max(x);
    __syncthreads();
    return x;
}

// --- activations (backend/cpu/math.h) -------------------------------------------------------------------------------

static __device__ inline float activate(mosa_act kind, float x) {
    switch (kind) {
    case MOSA_ACT_SILU:
        return x / (1.0f + expf(-x));
    case MOSA_ACT_GELU:
        return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    case MOSA_ACT_GELU_TANH: {
        float u = 0.79788456080286536f * fmaf(0.044715f * (x * x), x, x);
        return x / (1.0f + expf(-2.0f * u));
    }
    case MOSA_ACT_RELU:
        return x > 0 ? x : 0;
    case MOSA_ACT_SIGMOID:
        return 1.0f / (1.0f + expf(-x));
    case MOSA_ACT_TANH:
        return tanhf(x);
    default:
        return x;
    }
}

static __device__ inline float clamped_swiglu(float gate, float up, float limit) { // a NaN stays one
    gate = gate > limit ? limit : gate;
    up = up > limit ? limit : up;
    up = up < -limit ? -limit : up;
    return (up + 1.0f) * (gate / (1.0f + expf(gate * -1.702f)));
}

static __device__ inline float gated(mosa_act kind, float limit, float gate, float up) {
    return kind == MOSA_ACT_CLAMPED_SWIGLU ? clamped_swiglu(gate, up, limit) : activate(kind, gate) * up;
}

// --- pages ----------------------------------------------------------------------------------------------------------

typedef struct kv_view { // of one layer, as kernels see it
    char *data;
    int64_t page_stride, head_stride, v_offset;
    int page_tokens, width, value_width, kv_heads;
    int dtype;
} kv_view;

static inline kv_view kv_view_of(const mosa_kv *kv, int layer) {
    kv_view view;
    view.data = kv->data + (size_t)layer * kv->layer_stride;
    view.page_stride = (int64_t)kv->page_stride;
    view.head_stride = (int64_t)kv->head_stride;
    view.v_offset = (int64_t)kv->v_offset;
    view.page_tokens = kv->spec.page_tokens;
    view.width = kv->spec.head_width;
    view.value_width = mosa_kv_value_width(&kv->spec);
    view.kv_heads = kv->spec.kv_heads;
    view.dtype = kv->spec.dtype;
    return view;
}

// What f16 cannot hold becomes the largest that it can.
static __device__ inline void kv_store(char *at, int dtype, int64_t i, float x) {
    if (dtype == MOSA_F32)
        reinterpret_cast<float *>(at)[i] = x;
    else if (dtype == MOSA_BF16)
        reinterpret_cast<__nv_bfloat16 *>(at)[i] = __float2bfloat16_rn(x);
    else
        reinterpret_cast<__half *>(at)[i] = __float2half_rn(x > 65504.0f ? 65504.0f : x < -65504.0f ? -65504.0f : x);
}

static __device__ inline float kv_load(const char *at, int dtype, int64_t i) {
    if (dtype == MOSA_F32) return reinterpret_cast<const float *>(at)[i];
    if (dtype == MOSA_BF16) return __bfloat162float(reinterpret_cast<const __nv_bfloat16 *>(at)[i]);
    return __half2float(reinterpret_cast<const __half *>(at)[i]);
}

// Where keys of a head begin in the page of a position; its row there is position % page_tokens.
static __device__ inline char *kv_head(const kv_view &kv, const int32_t *pages, const mosa_cuda_segment &segment,
                                       int32_t position, int head) {
    int64_t page = pages[segment.page_begin + position / kv.page_tokens];
    return kv.data + page * kv.page_stride + head * kv.head_stride;
}

#endif
