// What measure.cu gives to cuda_backend.c.
#ifndef MOSA_BACKEND_CUDA_PLUGIN_MEASURE_H
#define MOSA_BACKEND_CUDA_PLUGIN_MEASURE_H

#include <cuda_runtime_api.h>
#include <stdint.h>

typedef struct mosa_cuda_rates {
    double read_bytes_per_s; // of device memory
    double copy_bytes_per_s; // read and written bytes together
    double f32_ops_per_s;
    double bf16_ops_per_s; // mma.sync
} mosa_cuda_rates;

#ifdef __cplusplus
extern "C" {
#endif
// Takes up to 2 GiB of free memory and some milliseconds.
cudaError_t mosa_cuda_measure_rates(int device, cudaStream_t stream, mosa_cuda_rates *rates);
#ifdef __cplusplus
}
#endif
#endif
