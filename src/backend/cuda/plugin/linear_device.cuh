// Small device helpers of the linear kernels: asynchronous copies, ldmatrix, mma, dependent launches.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_LINEAR_DEVICE_CUH
#define MOSA_BACKEND_CUDA_PLUGIN_LINEAR_DEVICE_CUH

#include <stdint.h>

#ifndef LINEAR_EMULATE

__device__ static __forceinline__ uint32_t linear_shared(const void *p) {
    return (uint32_t)__cvta_generic_to_shared(p);
}

__device__ static __forceinline__ void linear_copy16(uint32_t to, const void *from) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}
// Zeros when !valid; `from` must be an address in any case.
__device__ static __forceinline__ void linear_copy16_or_zero(uint32_t to, const void *from, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid ? 16 : 0) : "memory");
}
__device__ static __forceinline__ void linear_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int N> __device__ static __forceinline__ void linear_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Four 8x8 matrices of bf16: lane l gives the address of row l % 8 of matrix l / 8.
__device__ static __forceinline__ void linear_matrices(uint32_t r[4], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address));
}

__device__ static __forceinline__ void linear_mma(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Programmatic dependent launch: every kernel here waits before it reads activations or writes anything, so that the
// next one may begin early and read weights, which nobody writes.
__device__ static __forceinline__ void linear_dependents_may_start() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ static __forceinline__ void linear_wait_for_previous() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Blocks of a cluster (Hopper): a barrier of all their threads, and reading another block's shared memory.
__device__ static __forceinline__ void linear_cluster_barrier() {
#if __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.arrive.release.aligned;\n\tbarrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}
__device__ static __forceinline__ float4 linear_cluster_load(uint32_t address, int rank) {
    float4 v = {};
#if __CUDA_ARCH__ >= 900
    asm volatile("{\n\t.reg .u32 at;\n\tmapa.shared::cluster.u32 at, %4, %5;\n\t"
                 "ld.shared::cluster.v4.f32 {%0,%1,%2,%3}, [at];\n\t}"
                 : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                 : "r"(address), "r"(rank)
                 : "memory");
#endif
    return v;
}

#endif
#endif
