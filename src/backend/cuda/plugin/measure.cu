// What the device can do at most: the bandwidth of a copy, the rates of fused multiply-adds and of bf16 matrices.
//
// The matrix rate is that of mma.sync m16n8k16 with operands in registers: what the kernels here can reach on any
// device of compute capability 8.0; wgmma of 9.0 goes beyond it.
#include "backend/cuda/plugin/measure.h"

#include <cuda_bf16.h>

__global__ void copy_words(const uint4 *from, uint4 *to, int64_t words) {
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < words; i += (int64_t)gridDim.x * blockDim.x)
        to[i] = from[i];
}

__global__ void read_words(const uint4 *from, unsigned *to, int64_t words) {
    unsigned sum = 0;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < words; i += (int64_t)gridDim.x * blockDim.x) {
        uint4 v = from[i];
        sum ^= v.x ^ v.y ^ v.z ^ v.w;
    }
    if (sum == 0x9e3779b9u) *to = sum; // never, but the compiler does not know
}

enum { FMA_STEPS = 4096, FMA_CHAINS = 8 };

__global__ void multiply_add(float *to, float a, float b) {
    float acc[FMA_CHAINS];
    for (int c = 0; c < FMA_CHAINS; c++) acc[c] = (float)(threadIdx.x + c);
    for (int i = 0; i < FMA_STEPS; i++)
#pragma unroll
        for (int c = 0; c < FMA_CHAINS; c++) acc[c] = fmaf(acc[c], a, b);
    float sum = 0;
    for (int c = 0; c < FMA_CHAINS; c++) sum += acc[c];
    if (sum == 12345.0f) *to = sum;
}

enum { MMA_STEPS = 2048, MMA_TILES = 4 };

__global__ void multiply_matrices(float *to, unsigned a, unsigned b) {
    float acc[MMA_TILES][4] = {};
    for (int i = 0; i < MMA_STEPS; i++)
#pragma unroll
        for (int t = 0; t < MMA_TILES; t++)
            asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%4,%4,%4}, {%5,%5}, "
                         "{%0,%1,%2,%3};"
                         : "+f"(acc[t][0]), "+f"(acc[t][1]), "+f"(acc[t][2]), "+f"(acc[t][3])
                         : "r"(a), "r"(b));
    float sum = 0;
    for (int t = 0; t < MMA_TILES; t++) sum += acc[t][0] + acc[t][1] + acc[t][2] + acc[t][3];
    if (sum == 12345.0f) *to = sum;
}

typedef struct bench {
    cudaStream_t stream;
    cudaEvent_t begin, end;
    int blocks;
    char *memory;
    int64_t bytes; // of each half
} bench;

enum bench_kind { BENCH_READ, BENCH_COPY, BENCH_FMA, BENCH_MMA };

static void launch(const bench *b, bench_kind kind) {
    const uint4 *from = reinterpret_cast<const uint4 *>(b->memory);
    switch (kind) {
    case BENCH_READ:
        read_words<<<b->blocks * 8, 256, 0, b->stream>>>(from, reinterpret_cast<unsigned *>(b->memory), b->bytes / 16);
        break;
    case BENCH_COPY:
        copy_words<<<b->blocks * 8, 256, 0, b->stream>>>(from, reinterpret_cast<uint4 *>(b->memory + b->bytes),
                                                         b->bytes / 16);
        break;
    case BENCH_FMA:
        multiply_add<<<b->blocks * 8, 256, 0, b->stream>>>(reinterpret_cast<float *>(b->memory), 0.999f, 0.001f);
        break;
    case BENCH_MMA:
        multiply_matrices<<<b->blocks * 4, 256, 0, b->stream>>>(reinterpret_cast<float *>(b->memory), 0, 0);
        break;
    }
}

// Seconds of one launch, the best of several.
static double seconds(const bench *b, bench_kind kind, cudaError_t *error) {
    double best = 1e30;
    for (int i = 0; i < 5 && *error == cudaSuccess; i++) {
        float ms = 0;
        cudaEventRecord(b->begin, b->stream);
        launch(b, kind);
        cudaEventRecord(b->end, b->stream);
        *error = cudaEventSynchronize(b->end);
        if (*error == cudaSuccess) *error = cudaEventElapsedTime(&ms, b->begin, b->end);
        if (i > 0 && ms > 0 && ms / 1e3 < best) best = ms / 1e3;
    }
    return best;
}

static cudaError_t run(bench *b, mosa_cuda_rates *rates) {
    cudaError_t error = cudaMemsetAsync(b->memory, 1, (size_t)b->bytes * 2, b->stream);
    if (error == cudaSuccess) error = cudaEventCreate(&b->begin);
    if (error == cudaSuccess) error = cudaEventCreate(&b->end);
    if (error != cudaSuccess) return error;
    double read = seconds(b, BENCH_READ, &error), copy = seconds(b, BENCH_COPY, &error);
    double fma = seconds(b, BENCH_FMA, &error), mma = seconds(b, BENCH_MMA, &error);
    rates->read_bytes_per_s = (double)b->bytes / read;
    rates->copy_bytes_per_s = 2.0 * (double)b->bytes / copy;
    rates->f32_ops_per_s = 2.0 * FMA_STEPS * FMA_CHAINS * 256 * b->blocks * 8 / fma;
    rates->bf16_ops_per_s = 2.0 * 16 * 8 * 16 * MMA_STEPS * MMA_TILES * 8 * b->blocks * 4 / mma;
    return error;
}

cudaError_t mosa_cuda_measure_rates(int device, cudaStream_t stream, mosa_cuda_rates *rates) {
    bench b = {};
    size_t available = 0, total = 0;
    cudaError_t error = cudaDeviceGetAttribute(&b.blocks, cudaDevAttrMultiProcessorCount, device);
    if (error == cudaSuccess) error = cudaMemGetInfo(&available, &total);
    b.stream = stream;
    b.bytes = available > ((size_t)3 << 30) ? (int64_t)1 << 30 : (int64_t)(available / 4 / 256 * 256);
    if (error == cudaSuccess) error = cudaMalloc(reinterpret_cast<void **>(&b.memory), (size_t)b.bytes * 2);
    if (error == cudaSuccess) error = run(&b, rates);
    if (b.begin) cudaEventDestroy(b.begin);
    if (b.end) cudaEventDestroy(b.end);
    cudaFree(b.memory);
    return error;
}
