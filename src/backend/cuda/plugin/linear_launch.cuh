// How the linear kernels are launched.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_LINEAR_LAUNCH_CUH
#define MOSA_BACKEND_CUDA_PLUGIN_LINEAR_LAUNCH_CUH

#ifndef LINEAR_EMULATE
#include <cuda_runtime_api.h>
#endif

// Launches, unless `serial`, with the attribute that lets a kernel begin before its predecessor ends. cluster: blocks
// of a cluster along z, 0 for none.
template <class P>
static cudaError_t linear_launch(void (*kernel)(P), dim3 grid, int threads, size_t shared, bool serial, const P &params,
                                 cudaStream_t stream, unsigned cluster = 0) {
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attributes[2] = {};
    config.gridDim = grid, config.blockDim = dim3(threads), config.dynamicSmemBytes = shared, config.stream = stream;
    config.attrs = attributes;
    if (!serial) {
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
static cudaError_t linear_launch_with(void (*kernel)(P...), dim3 grid, unsigned threads, size_t shared,
                                      cudaStream_t stream, A... args) {
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = grid, config.blockDim = dim3(threads), config.dynamicSmemBytes = shared, config.stream = stream;
    config.attrs = &attribute, config.numAttrs = 1;
    return cudaLaunchKernelEx(&config, kernel, static_cast<P>(args)...);
}
#endif

#endif
