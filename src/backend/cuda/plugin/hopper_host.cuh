// Host side of hopper.cuh: what the current device is, tensor maps, launches of clusters. Any thread.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_HOPPER_HOST_CUH
#define MOSA_BACKEND_CUDA_PLUGIN_HOPPER_HOST_CUH

#include <cuda.h>
#include <cuda_runtime.h>
#include <stdint.h>

enum { HOPPER_DEVICES_MAX = 64 };

// What is known of a device, found at its first use. Racing threads find the same.
typedef struct hopper_device {
    int known, hopper, sms, ordinal;
} hopper_device;

// The current device, or NULL when it is not a Hopper.
static inline const hopper_device *hopper_find_device(void) {
    static hopper_device devices[HOPPER_DEVICES_MAX];
    int ordinal = 0, major = 0, minor = 0;
    if (cudaGetDevice(&ordinal) || ordinal >= HOPPER_DEVICES_MAX) return NULL;
    hopper_device *d = &devices[ordinal];
    if (d->known) return d->hopper ? d : NULL;
    if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, ordinal) ||
        cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, ordinal) ||
        cudaDeviceGetAttribute(&d->sms, cudaDevAttrMultiProcessorCount, ordinal))
        return NULL;
    d->hopper = major == 9 && minor == 0;
    d->ordinal = ordinal;
    d->known = 1;
    return d->hopper ? d : NULL;
}

typedef CUresult (*hopper_encode_fn)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *,
                                     const cuuint64_t *, const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave,
                                     CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

// cuTensorMapEncodeTiled of the libcuda that the runtime has loaded, or NULL.
static inline hopper_encode_fn hopper_find_encode(void) {
    static hopper_encode_fn encode;
    void *found = NULL;
    cudaDriverEntryPointQueryResult result;
    if (!encode &&
        !cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result) &&
        result == cudaDriverEntryPointSuccess)
        encode = (hopper_encode_fn)found;
    return encode;
}

// Boxes of box_rows rows by 64 columns of a bf16 matrix, in the 128-byte swizzle; zeros beyond its edges. The address
// and stride (bytes) are multiples of 16.
static inline cudaError_t hopper_map(const void *data, int64_t rows, int64_t columns, int64_t stride, int box_rows,
                                     CUtensorMap *map) {
    hopper_encode_fn encode = hopper_find_encode();
    if (!encode || (uintptr_t)data % 16 || stride % 16) return cudaErrorNotSupported;
    cuuint64_t size[2] = {(cuuint64_t)columns, (cuuint64_t)rows}, strides[1] = {(cuuint64_t)stride};
    cuuint32_t box[2] = {64, (cuuint32_t)box_rows}, step[2] = {1, 1};
    CUresult r = encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, (void *)data, size, strides, box, step,
                        CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                        CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return r == CUDA_SUCCESS ? cudaSuccess : cudaErrorNotSupported;
}

// The same for stores of f32: `planes` matrices one behind the other, boxes of 32 columns.
static inline cudaError_t hopper_map_f32(void *data, int64_t planes, int64_t rows, int64_t columns, int64_t stride,
                                         int box_rows, CUtensorMap *map) {
    hopper_encode_fn encode = hopper_find_encode();
    if (!encode || (uintptr_t)data % 16 || stride % 16) return cudaErrorNotSupported;
    cuuint64_t size[3] = {(cuuint64_t)columns, (cuuint64_t)rows, (cuuint64_t)planes};
    cuuint64_t strides[2] = {(cuuint64_t)stride, (cuuint64_t)(stride * rows)};
    cuuint32_t box[3] = {32, (cuuint32_t)box_rows, 1}, step[3] = {1, 1, 1};
    CUresult r =
        encode(map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 3, data, size, strides, box, step, CU_TENSOR_MAP_INTERLEAVE_NONE,
               CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return r == CUDA_SUCCESS ? cudaSuccess : cudaErrorNotSupported;
}

// Launches a persistent kernel: as many clusters as run at once, but no more than tiles. S: shape of the kernel, with
// CLUSTER, THREADS and SHARED bytes.
template <class S, class... A>
static inline cudaError_t hopper_launch(const hopper_device *d, void (*kernel)(A...), int64_t tiles,
                                        cudaStream_t stream, A... arguments) {
    static int clusters[HOPPER_DEVICES_MAX]; // that run at once; 0 = not asked yet
    cudaLaunchAttribute attribute;
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = S::CLUSTER, attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(d->sms / S::CLUSTER * S::CLUSTER);
    config.blockDim = dim3(S::THREADS);
    config.dynamicSmemBytes = S::SHARED;
    config.stream = stream;
    config.attrs = &attribute, config.numAttrs = 1;
    if (!clusters[d->ordinal]) {
        cudaError_t e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, S::SHARED);
        if (!e) e = cudaOccupancyMaxActiveClusters(&clusters[d->ordinal], kernel, &config);
        if (e) return e;
        if (!clusters[d->ordinal]) return cudaErrorNotSupported;
    }
    int64_t busy = clusters[d->ordinal];
    config.gridDim = dim3((unsigned)((tiles < busy ? tiles : busy) * S::CLUSTER));
    return cudaLaunchKernelEx(&config, kernel, arguments...);
}

#endif
