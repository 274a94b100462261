// Hopper (sm_90a) in small functions: mbarriers, TMA loads, warpgroup matrix instructions. Device code only.
//
// Matrices in shared memory are tiles of rows of 64 bf16 (128 bytes, K contiguous) in the 128-byte swizzle that TMA
// writes and wgmma reads: the 16-byte chunk j of row r lies at r * 128 + ((j ^ (r & 7)) * 16); tiles are 1024-byte
// aligned. wgmma computes D[64,N] += A[64,16] B[N,16]^T in f32; D of lane l of warp w of the warpgroup:
//   d[4j + 0, 1] = row 16w + l/4, columns 8j + 2(l%4), +1;   d[4j + 2, 3] = the same of row + 8
// and A from registers is what mma.m16n8k16 takes for the rows of warp w.
//
// With MOSA_HANG_GUARD (tests) a wait that lasts seconds says where in hopper_report, host memory, and traps.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_HOPPER_CUH
#define MOSA_BACKEND_CUDA_PLUGIN_HOPPER_CUH

#include <cuda.h>
#include <stdint.h>

__device__ static __forceinline__ uint32_t hopper_shared(const void *p) {
    return (uint32_t)__cvta_generic_to_shared(p);
}

__device__ static __forceinline__ void hopper_barrier_init(uint32_t bar, uint32_t arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(arrivals) : "memory");
}

// Makes initialised barriers visible to TMA and to the other blocks of a cluster.
__device__ static __forceinline__ void hopper_barrier_init_fence(void) {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async;" ::: "memory");
}

__device__ static __forceinline__ void hopper_barrier_expect(uint32_t bar, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
}

__device__ static __forceinline__ void hopper_barrier_arrive(uint32_t bar) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory");
}

// Arrives at the barrier with the same offset in block `rank` of the cluster.
__device__ static __forceinline__ void hopper_barrier_arrive_at(uint32_t bar, uint32_t rank) {
    asm volatile("{\n.reg .b32 remote;\n"
                 "mapa.shared::cluster.u32 remote, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [remote];\n}" ::"r"(bar),
                 "r"(rank)
                 : "memory");
}

__device__ static __forceinline__ bool hopper_barrier_try(uint32_t bar, uint32_t parity) {
    uint32_t done;
    asm volatile("{\n.reg .pred p;\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, p;\n}"
                 : "=r"(done)
                 : "r"(bar), "r"(parity)
                 : "memory");
    return done;
}

#ifdef MOSA_HANG_GUARD
__device__ volatile int *hopper_report; // place, block, thread, barrier, parity; no printf, as wgmma suffers no calls
#endif

// Waits until the phase of `parity` is over.
__device__ static __forceinline__ void hopper_barrier_wait(uint32_t bar, uint32_t parity, int place) {
#ifdef MOSA_HANG_GUARD
    for (long long begin = clock64(); !hopper_barrier_try(bar, parity);)
        if (clock64() - begin > 2000000000ll) {
            volatile int *report = hopper_report;
            if (report) {
                report[1] = blockIdx.x, report[2] = threadIdx.x, report[3] = bar, report[4] = parity, report[0] = place;
                __threadfence_system();
            }
            __trap();
        }
#else
    (void)place;
    while (!hopper_barrier_try(bar, parity)) {
    }
#endif
}

__device__ static __forceinline__ uint32_t hopper_cluster_rank(void) {
    uint32_t r;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
    return r;
}

__device__ static __forceinline__ void hopper_cluster_sync(void) {
    asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}

// One box of a two-dimensional tensor map, from element (x, y) on; x runs along the contiguous dimension.
__device__ static __forceinline__ void hopper_tma_load(uint32_t to, const CUtensorMap *map, uint32_t bar, int x,
                                                       int y) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], "
                 "[%2];" ::"r"(to),
                 "l"(map), "r"(bar), "r"(x), "r"(y)
                 : "memory");
}

// The same into the blocks of the cluster named by the bits of `blocks`, at the same offset, signalling the barrier
// with the same offset in each.
__device__ static __forceinline__ void hopper_tma_load_multicast(uint32_t to, const CUtensorMap *map, uint32_t bar,
                                                                 int x, int y, uint16_t blocks) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
                 "[%1, {%3, %4}], [%2], %5;" ::"r"(to),
                 "l"(map), "r"(bar), "r"(x), "r"(y), "h"(blocks)
                 : "memory");
}

// A box of a three-dimensional tensor map from shared memory, beginning at element (x, y, z); parts of it beyond the
// edges are left out. Writers fence with hopper_tma_store_fence first; a thread's stores form groups.
__device__ static __forceinline__ void hopper_tma_store(uint32_t from, const CUtensorMap *map, int x, int y, int z) {
    asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(map),
                 "r"(from), "r"(x), "r"(y), "r"(z)
                 : "memory");
}
__device__ static __forceinline__ void hopper_tma_store_fence(void) {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ static __forceinline__ void hopper_tma_store_commit(void) {
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
// Until this thread's stores have read shared memory; until they are done.
__device__ static __forceinline__ void hopper_tma_store_wait_read(void) {
    asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}
__device__ static __forceinline__ void hopper_tma_store_wait(void) {
    asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

// Barrier `id` (1 to 15) of the threads of one warpgroup.
__device__ static __forceinline__ void hopper_warpgroup_sync(int id) {
    asm volatile("bar.sync %0, 128;" ::"r"(id) : "memory");
}

__device__ static __forceinline__ void hopper_tma_prefetch_map(const CUtensorMap *map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

template <int REGISTERS> __device__ static __forceinline__ void hopper_registers_up(void) {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

template <int REGISTERS> __device__ static __forceinline__ void hopper_registers_down(void) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

// Descriptor of a swizzled tile at shared address `tile`, K contiguous. Step k of 16 columns begins 32 k bytes on:
// add 2 k to the descriptor.
__device__ static __forceinline__ uint64_t hopper_descriptor(uint32_t tile) {
    return (uint64_t)((tile & 0x3ffff) >> 4) | (uint64_t)1 << 16 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

__device__ static __forceinline__ void hopper_mma_fence(void) {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ static __forceinline__ void hopper_mma_commit(void) {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// At most PENDING committed groups are still running afterwards.
template <int PENDING> __device__ static __forceinline__ void hopper_mma_wait(void) {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

// Keeps the compiler from moving accesses of registers across this point.
template <int N> __device__ static __forceinline__ void hopper_pin(float (&d)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) asm volatile("" : "+f"(d[i])::"memory");
}

#define HOPPER_D4(d, i)  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define HOPPER_D8(d, i)  HOPPER_D4(d, i), HOPPER_D4(d, i + 4)
#define HOPPER_D16(d, i) HOPPER_D8(d, i), HOPPER_D8(d, i + 8)
#define HOPPER_D32(d, i) HOPPER_D16(d, i), HOPPER_D16(d, i + 16)
#define HOPPER_D64(d, i) HOPPER_D32(d, i), HOPPER_D32(d, i + 32)

#define HOPPER_P4  "%0, %1, %2, %3"
#define HOPPER_P8  HOPPER_P4 ", %4, %5, %6, %7"
#define HOPPER_P16 HOPPER_P8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define HOPPER_P32 HOPPER_P16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define HOPPER_P64                                                                                                     \
    HOPPER_P32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"                      \
               ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define HOPPER_P96                                                                                                     \
    HOPPER_P64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"                      \
               ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define HOPPER_P128                                                                                                    \
    HOPPER_P96 ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111"          \
               ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

#define HOPPER_SS(N, P, A, B, S, TA, TB, ...)                                                                          \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " S ", 0;\n"                                                        \
                 "wgmma.mma_async.sync.aligned.m64n" N "k16.f32.bf16.bf16 {" P "}, " A ", " B ", p, 1, 1, " TA ", " TB \
                 ";\n}"                                                                                                \
                 : __VA_ARGS__                                                                                         \
                 : "l"(a), "l"(b), "r"(accumulate), "n"(TRANSPOSED_A), "n"(TRANSPOSED_B))
#define HOPPER_RS(N, P, A, B, S, ...)                                                                                  \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " S ", 0;\n"                                                        \
                 "wgmma.mma_async.sync.aligned.m64n" N "k16.f32.bf16.bf16 {" P "}, {" A "}, " B ", p, 1, 1, 0;\n}"     \
                 : __VA_ARGS__                                                                                         \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate))

// D = A B^T, plus D where accumulate is not 0; A, B in shared memory. TRANSPOSED: that operand's tile holds K rows of
// 64 of its own rows each.
template <int N, int TRANSPOSED_A = 0, int TRANSPOSED_B = 0>
__device__ static __forceinline__ void hopper_mma_ss(float (&d)[N / 2], uint64_t a, uint64_t b, int accumulate) {
    if constexpr (N == 8) HOPPER_SS("8", HOPPER_P4, "%4", "%5", "%6", "%7", "%8", HOPPER_D4(d, 0));
    if constexpr (N == 16) HOPPER_SS("16", HOPPER_P8, "%8", "%9", "%10", "%11", "%12", HOPPER_D8(d, 0));
    if constexpr (N == 32) HOPPER_SS("32", HOPPER_P16, "%16", "%17", "%18", "%19", "%20", HOPPER_D16(d, 0));
    if constexpr (N == 64) HOPPER_SS("64", HOPPER_P32, "%32", "%33", "%34", "%35", "%36", HOPPER_D32(d, 0));
    if constexpr (N == 128) HOPPER_SS("128", HOPPER_P64, "%64", "%65", "%66", "%67", "%68", HOPPER_D64(d, 0));
    if constexpr (N == 192)
        HOPPER_SS("192", HOPPER_P96, "%96", "%97", "%98", "%99", "%100", HOPPER_D64(d, 0), HOPPER_D32(d, 64));
    if constexpr (N == 256)
        HOPPER_SS("256", HOPPER_P128, "%128", "%129", "%130", "%131", "%132", HOPPER_D64(d, 0), HOPPER_D64(d, 64));
}

// The same with A in registers.
template <int N>
__device__ static __forceinline__ void hopper_mma_rs(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b,
                                                     int accumulate) {
    if constexpr (N == 8) HOPPER_RS("8", HOPPER_P4, "%4, %5, %6, %7", "%8", "%9", HOPPER_D4(d, 0));
    if constexpr (N == 16) HOPPER_RS("16", HOPPER_P8, "%8, %9, %10, %11", "%12", "%13", HOPPER_D8(d, 0));
    if constexpr (N == 32) HOPPER_RS("32", HOPPER_P16, "%16, %17, %18, %19", "%20", "%21", HOPPER_D16(d, 0));
    if constexpr (N == 64) HOPPER_RS("64", HOPPER_P32, "%32, %33, %34, %35", "%36", "%37", HOPPER_D32(d, 0));
    if constexpr (N == 128) HOPPER_RS("128", HOPPER_P64, "%64, %65, %66, %67", "%68", "%69", HOPPER_D64(d, 0));
    if constexpr (N == 192)
        HOPPER_RS("192", HOPPER_P96, "%96, %97, %98, %99", "%100", "%101", HOPPER_D64(d, 0), HOPPER_D32(d, 64));
    if constexpr (N == 256)
        HOPPER_RS("256", HOPPER_P128, "%128, %129, %130, %131", "%132", "%133", HOPPER_D64(d, 0), HOPPER_D64(d, 64));
}

#endif
