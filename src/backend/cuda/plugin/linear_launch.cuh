// How the linear kernels are launched.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_LINEAR_LAUNCH_CUH
#define MOSA_BACKEND_CUDA_PLUGIN_LINEAR_LAUNCH_CUH

#ifndef LINEAR_EMULATE
#include <cuda_runtime_api.h>
#endif

// Whether kernels of the current device may begin early. Racing threads find the same.
static inline bool linear_may_overlap() {
    enum { DEVICES = 64 };
    static int known[DEVICES]; // 1 no, 2 yes
    int device = 0, major = 0;
    if (cudaGetDevice(&device) || device >= DEVICES) return false;
    if (!known[device]) {
        if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device)) return false;
        known[device] = major >= 9 ? 2 : 1;
    }
    return known[device] == 2;
}

// Launches, unless `serial`, with the attribute that lets a kernel begin before its predecessor ends. cluster: blocks
// of a cluster along z, 0 for none.
template <class P>
static cudaError_t linear_launch(void (*kernel)(P), dim3 grid, int threads, size_t shared, bool serial, const P &params,
                                 cudaStream_t stream, unsigned cluster = 0) {
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attributes[2] = {};
    config.gridDim = grid, config.blockDim = dim3(threads), config.dynamicSmemBytes = shared, config.stream = stream;
    config.attrs = attributes;
    if (!serial && linear_may_overlap()) {
        cudaLaunchAttribute *a = &attributes[config.numAttrs++];
        a->id = cudaLaunchAttributeProgrammaticStreamSerialization;
        a->val.programmaticStreamSerializationAllowed = 1;
    }
    if (cluster) {
        cudaLaunchAttribute *a = &attributes[config.numAttrs++];
        a->id = cudaLaunchAttributeClusterDimension;
        a->val.clusterDim.x = a->val.clusterDim.y = 1, a->val.clusterDim.z = cluster;
    }
    if (shared > 48 * 1024) {
        cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
        if (e) return e;
    }
    return cudaLaunchKernelEx(&config, kernel, params);
}

#ifndef LINEAR_EMULATE
// As kernel<<<grid, threads, shared, stream>>>(args...), beginning before its predecessor ends: a kernel launched so
// calls linear_wait_for_previous() before it touches what another kernel may.
template <class... P, class... A>
static cudaError_t linear_launch_with(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
                                      A... args) {
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = grid, config.blockDim = block, config.dynamicSmemBytes = shared, config.stream = stream;
    config.attrs = &attribute, config.numAttrs = linear_may_overlap() ? 1 : 0;
    return cudaLaunchKernelEx(&config, kernel, static_cast<P>(args)...);
}
#endif

#endif
