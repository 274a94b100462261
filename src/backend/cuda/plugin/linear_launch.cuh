// How the linear kernels are launched.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_LINEAR_LAUNCH_CUH
#define MOSA_BACKEND_CUDA_PLUGIN_LINEAR_LAUNCH_CUH

#ifndef LINEAR_EMULATE
#include <cuda_runtime_api.h>
#endif

// Launches with the attribute that lets a kernel begin before its predecessor ends.
template <class P>
static cudaError_t linear_launch(void (*kernel)(P), dim3 grid, int threads, size_t shared, bool serial, const P &params,
                                 cudaStream_t stream) {
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = grid, config.blockDim = dim3(threads), config.dynamicSmemBytes = shared, config.stream = stream;
    config.attrs = &attribute, config.numAttrs = serial ? 0 : 1;
    if (shared > 48 * 1024) {
        cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
        if (e) return e;
    }
    return cudaLaunchKernelEx(&config, kernel, params);
}

#endif
