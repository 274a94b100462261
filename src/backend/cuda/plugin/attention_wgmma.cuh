// Warpgroup instructions for attention_hopper.cuh, bf16 and f16: see hopper.cuh for what they do. Apart, so that a host
// can stand in for the device by replacing this file. Without sm_90a the bodies are empty and nobody calls them.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_ATTENTION_WGMMA_CUH
#define MOSA_BACKEND_CUDA_PLUGIN_ATTENTION_WGMMA_CUH

#include "backend/cuda/plugin/attention_instructions.cuh"
#include "backend/cuda/plugin/hopper.cuh"

namespace mosa_attention {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || !defined(__CUDA_ARCH__)
#define WG(...) __VA_ARGS__
#else
#define WG(...)
#endif

__device__ __forceinline__ void wg_barrier_init(uint32_t bar, uint32_t arrivals) {
    WG(hopper_barrier_init(bar, arrivals));
}
__device__ __forceinline__ void wg_barrier_init_fence() {
    WG(hopper_barrier_init_fence());
}
__device__ __forceinline__ void wg_barrier_arrive(uint32_t bar) {
    WG(hopper_barrier_arrive(bar));
}
__device__ __forceinline__ void wg_barrier_wait(uint32_t bar, uint32_t parity, int where) {
    WG(hopper_barrier_wait(bar, parity, where));
}
// Makes what this thread wrote to shared memory visible to wgmma.
__device__ __forceinline__ void wg_fence_shared() {
    WG(asm volatile("fence.proxy.async.shared::cta;" ::: "memory"));
}
__device__ __forceinline__ void wg_fence_registers() {
    WG(hopper_mma_fence());
}
__device__ __forceinline__ void wg_commit() {
    WG(hopper_mma_commit());
}
template <int PENDING> __device__ __forceinline__ void wg_wait() {
    WG(hopper_mma_wait<PENDING>());
}
template <int N> __device__ __forceinline__ void wg_pin(float (&d)[N]) {
    WG(hopper_pin(d));
}
template <int N> __device__ __forceinline__ void wg_registers_up() {
    WG(hopper_registers_up<N>());
}
template <int N> __device__ __forceinline__ void wg_registers_down() {
    WG(hopper_registers_down<N>());
}
__device__ __forceinline__ void wg_sync_group(int barrier) { // the 128 threads of a warpgroup
    asm volatile("bar.sync %0, 128;" ::"r"(barrier) : "memory");
}

// The next kernel of the stream, launched by launch_overlapping, may begin; it waits in wait_for_previous for the end
// and the results of this one.
__device__ __forceinline__ void launch_next() {
    WG(asm volatile("griddepcontrol.launch_dependents;"));
}
__device__ __forceinline__ void wait_for_previous() {
    WG(asm volatile("griddepcontrol.wait;" ::: "memory"));
}
template <typename K, typename... A>
cudaError_t launch_overlapping(K *kernel, dim3 grid, dim3 block, cudaStream_t stream, const A &...args) {
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid, config.blockDim = block, config.stream = stream;
    config.attrs = &attribute, config.numAttrs = 1;
    void *pointers[] = {(void *)&args...};
    return cudaLaunchKernelExC(&config, (const void *)kernel, pointers);
}

__device__ __forceinline__ void wg_sync_threads(int barrier, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

// Descriptor of swizzled tiles of 64 columns; apart: bytes between neighbouring tiles where columns are the wide side.
__device__ __forceinline__ uint64_t wg_descriptor(const void *tile, uint32_t apart) {
    return (uint64_t)((shared_address(tile) & 0x3ffff) >> 4) | (uint64_t)(apart >> 4) << 16 |
           (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

#define WG_SCORES(TYPE)                                                                                                \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"                                                          \
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32." TYPE "." TYPE " {" HOPPER_P32                           \
                 "}, %32, %33, p, 1, 1, 0, 0;\n}"                                                                      \
                 : HOPPER_D32(d, 0)                                                                                    \
                 : "l"(a), "l"(b), "r"(accumulate))
#define WG_VALUES(TYPE, N, P, A, B, ...)                                                                               \
    asm volatile("{\n.reg .pred p;\nsetp.eq.b32 p, 0, 0;\nwgmma.mma_async.sync.aligned.m64n" N "k16.f32." TYPE         \
                 "." TYPE " {" P "}, {" A "}, " B ", p, 1, 1, 1;\n}"                                                   \
                 : __VA_ARGS__                                                                                         \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))

template <typename T> struct wg_is_half { static constexpr bool value = false; };
template <> struct wg_is_half<__half> { static constexpr bool value = true; };

// d[64 rows, 64] = a b^T (plus d), 16 columns of both, which are the narrow side of their tiles.
template <typename T>
__device__ __forceinline__ void wg_scores(float (&d)[32], uint64_t a, uint64_t b, int accumulate) {
    if constexpr (wg_is_half<T>::value)
        WG(WG_SCORES("f16"));
    else
        WG(WG_SCORES("bf16"));
}

// d[64 rows, N] += a b: a from registers, b 16 rows of N columns.
template <typename T, int N>
__device__ __forceinline__ void wg_values(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b) {
    constexpr bool half = wg_is_half<T>::value;
    if constexpr (N == 64 && half)
        WG(WG_VALUES("f16", "64", HOPPER_P32, "%32, %33, %34, %35", "%36", HOPPER_D32(d, 0)));
    if constexpr (N == 64 && !half)
        WG(WG_VALUES("bf16", "64", HOPPER_P32, "%32, %33, %34, %35", "%36", HOPPER_D32(d, 0)));
    if constexpr (N == 128 && half)
        WG(WG_VALUES("f16", "128", HOPPER_P64, "%64, %65, %66, %67", "%68", HOPPER_D64(d, 0)));
    if constexpr (N == 128 && !half)
        WG(WG_VALUES("bf16", "128", HOPPER_P64, "%64, %65, %66, %67", "%68", HOPPER_D64(d, 0)));
}

} // namespace mosa_attention

#endif
