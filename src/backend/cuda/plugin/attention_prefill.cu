// Which prefill kernel runs: by type, width, and whether rows lie in pages.
#include "backend/cuda/plugin/attention_prefill.cuh"

namespace mosa_attention {

enum { WARPS = 4 };

template <typename T, bool PAGED> static bool launch(const view &a, cudaStream_t stream, cudaError_t *result) {
    switch (a.width) {
    case 64:
        *result = prefill_run<T, 64, 64, PAGED, WARPS>(a, stream);
        return true;
    case 80:
        *result = prefill_run<T, 80, 80, PAGED, WARPS>(a, stream);
        return true;
    case 96:
        *result = prefill_run<T, 96, 96, PAGED, WARPS>(a, stream);
        return true;
    case 128:
        *result = prefill_run<T, 128, 128, PAGED, WARPS>(a, stream);
        return true;
    case 256:
        *result = prefill_run<T, 256, 128, PAGED, WARPS>(a, stream);
        return true;
    default:
        return false;
    }
}

bool has_kernels(int width, int value_width, mosa_dtype dtype) {
    return (dtype == MOSA_F16 || dtype == MOSA_BF16) && width == value_width &&
           (width == 64 || width == 80 || width == 96 || width == 128 || width == 256);
}

bool prefill_launch(const view &a, mosa_dtype dtype, cudaStream_t stream, cudaError_t *result) {
    if (!has_kernels(a.width, a.value_width, dtype)) return false;
    if (!a.pages) return dtype == MOSA_BF16 && launch<__nv_bfloat16, false>(a, stream, result);
    return dtype == MOSA_BF16 ? launch<__nv_bfloat16, true>(a, stream, result)
                              : launch<__half, true>(a, stream, result);
}

} // namespace mosa_attention
