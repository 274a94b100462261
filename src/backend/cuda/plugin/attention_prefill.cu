// Which prefill kernel runs: by type, width, device, and whether rows lie in pages.
#include "backend/cuda/plugin/attention_hopper.cuh"
#include "backend/cuda/plugin/attention_prefill.cuh"

namespace mosa_attention {

enum { WARPS = 4 };

bool prefill_hopper = true; // wgmma where the device has it; a benchmark compares

template <typename T, bool PAGED> static bool launch(const view &a, cudaStream_t stream, cudaError_t *result) {
    if (prefill_hopper && has_wgmma()) {
        if (a.width == 64) return *result = hopper_run<T, 64, PAGED>(a, stream), true;
        if (a.width == 128) return *result = hopper_run<T, 128, PAGED>(a, stream), true;
    }
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

// Whether this file's code for the current device has warpgroup instructions.
bool has_wgmma() {
    static int known; // 0 = not asked yet, 1 = no, 2 = yes; every thread that asks finds the same
    int device, major = 0;
    if (known == 0 && cudaGetDevice(&device) == cudaSuccess &&
        cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess)
        known = major == 9 ? 2 : 1;
    return known == 2;
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
