// Enough of CUDA's headers to compile the linear kernels with a host compiler, and an emulator to run them: each thread
// of a block is a fiber; barriers, ldmatrix and mma are meeting points of a block or a warp. Tests only.
#ifndef MOSA_TESTS_GPU_EMULATE_EMULATE_HH
#define MOSA_TESTS_GPU_EMULATE_EMULATE_HH

#include <algorithm>
#include <functional>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define __host__
#define __device__
#define __global__
#define __shared__
#define __forceinline__ inline
#define __noinline__
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(n)
using std::min;

struct uint2 {
    uint32_t x, y;
};
struct uint4 {
    uint32_t x, y, z, w;
};
struct float2 {
    float x, y;
};
struct float4 {
    float x, y, z, w;
};
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
static inline uint2 make_uint2(uint32_t x, uint32_t y) {
    return uint2{x, y};
}
static inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) {
    return uint4{x, y, z, w};
}
static inline float2 make_float2(float x, float y) {
    return float2{x, y};
}

extern dim3 threadIdx, blockIdx, gridDim;
extern bool emulate_late; // asynchronous copies happen when waited for, not at once
void emulate_block_barrier();
void emulate_warp_barrier();
#define __syncthreads emulate_block_barrier
#define __syncwarp    emulate_warp_barrier
static inline int __popc(unsigned v) {
    return __builtin_popcount(v);
}
unsigned __match_any_sync(unsigned mask, int value);
void emulate(const std::function<void()> &body, dim3 grid, int threads);

typedef int cudaError_t;
typedef void *cudaStream_t;
enum { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorNotSupported = 801 };
enum { cudaDevAttrMaxSharedMemoryPerBlockOptin, cudaDevAttrMultiProcessorCount, cudaDevAttrComputeCapabilityMajor };
enum {
    cudaFuncAttributeMaxDynamicSharedMemorySize,
    cudaLaunchAttributeProgrammaticStreamSerialization,
    cudaLaunchAttributeClusterDimension
};
struct cudaLaunchAttribute {
    int id;
    struct {
        int programmaticStreamSerializationAllowed;
        dim3 clusterDim;
    } val;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute *attrs;
    unsigned numAttrs;
};
extern int emulate_sms;
static inline cudaError_t cudaGetDevice(int *device) {
    return *device = 0;
}
static inline cudaError_t cudaDeviceGetAttribute(int *value, int attribute, int) {
    *value = attribute == cudaDevAttrMultiProcessorCount      ? emulate_sms
             : attribute == cudaDevAttrComputeCapabilityMajor ? 8
                                                              : 227 * 1024;
    return 0;
}
template <class K> cudaError_t cudaFuncSetAttribute(K, int, int) {
    return 0;
}
template <class P> cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *c, void (*kernel)(P), const P &params) {
    emulate([&] { kernel(params); }, c->gridDim, (int)c->blockDim.x);
    return 0;
}

struct __half_raw {
    unsigned short x;
};
struct __half {
    unsigned short x;
    __half() {}
    __half(__half_raw r) : x(r.x) {}
};
struct __half2 {
    __half a, b;
};
static inline float __half2float(__half h) {
    _Float16 f;
    memcpy(&f, &h, 2);
    return (float)f;
}
static inline float2 __half22float2(__half2 h) {
    return float2{__half2float(h.a), __half2float(h.b)};
}

// What linear_device.cuh has.
uint32_t linear_shared(const void *p);
void linear_copy16_or_zero(uint32_t to, const void *from, bool valid);
static inline void linear_copy16(uint32_t to, const void *from) {
    linear_copy16_or_zero(to, from, true);
}
void linear_commit();
void emulate_wait(int groups);
template <int N> static inline void linear_wait() {
    emulate_wait(N);
}
void linear_matrices(uint32_t r[4], uint32_t address);
void linear_mma(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1);
static inline void linear_cluster_barrier() {}
static inline float4 linear_cluster_load(uint32_t, int) {
    return float4{};
}
static inline void linear_dependents_may_start() {}
static inline void linear_wait_for_previous() {}

#endif
