// Checks and times the linear kernels on a device; stands alone.
//
//   nvcc -std=c++17 -O3 -arch=sm_90a --split-compile=0 -Isrc -Iinclude tests/gpu/linear_bench.cu
//       src/backend/cuda/plugin/linear_run.cu src/backend/cuda/plugin/linear_repack.cu
//       src/backend/cuda/plugin/gemm_wgmma.cu -ldl -o linear_bench
//   ./linear_bench [check|time]
//
// First every type and path against plain sums in double, and bits between numbers of rows and paths; then copy and
// read bandwidth, cuBLAS's rate (where it can be found), and for decode, middle and prefill sizes each tuning variant.
#include "backend/cuda/plugin/linear.h"
#include "backend/cuda/plugin/linear_layout.cuh"

#include <dlfcn.h>
#include <functional>
#include <stdio.h>
#include <stdlib.h>
#include <string>
#include <time.h>
#include <vector>

#define CHECK(call)                                                                                                    \
    do {                                                                                                               \
        cudaError_t check_ = (call);                                                                                   \
        if (check_ != cudaSuccess) {                                                                                   \
            printf("ERROR line %d: %s: %s\n", __LINE__, #call, cudaGetErrorString(check_));                            \
            fflush(stdout);                                                                                            \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static cudaStream_t stream;
static int failures;
static double seconds() {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// ---- types: random rows as files have them, and their plain decoding (tensor/quant.h)

struct type {
    const char *name;
    int kind;
    linear_source_type from;
    int len, bytes; // block
    double tolerance;
};
static const type types[] = {{"bf16", MOSA_LINEAR_BF16, LINEAR_FROM_BF16, 1, 2, 2e-6},
                             {"f32", MOSA_LINEAR_BF16, LINEAR_FROM_F32, 1, 4, 2e-6},
                             {"q8_0", MOSA_LINEAR_Q8_0, LINEAR_FROM_Q8_0, 32, 34, 2e-6},
                             {"q4_0", MOSA_LINEAR_Q4_0, LINEAR_FROM_Q4_0, 32, 18, 2e-6},
                             {"q4_k", MOSA_LINEAR_Q4_K, LINEAR_FROM_Q4_K, 256, 144, 1e-5},
                             {"q5_k", MOSA_LINEAR_Q5_K, LINEAR_FROM_Q5_K, 256, 176, 1e-5},
                             {"q6_k", MOSA_LINEAR_Q6_K, LINEAR_FROM_Q6_K, 256, 210, 1e-5}};
enum { BF16 = 0, F32 = 1, Q4_K = 4 };

__device__ static uint32_t mix(uint64_t i) {
    uint64_t z = i * 0x9e3779b97f4a7c15ull + 0x1234567;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return (uint32_t)(z >> 32);
}
__device__ static float uniform(uint64_t i) {
    return (float)(int32_t)mix(i) * (1.0f / 2147483648.0f);
}

__global__ void random_f32(float *to, int64_t n, uint64_t seed) {
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < n; i += (int64_t)gridDim.x * blockDim.x)
        to[i] = 2.0f * uniform(i + (seed << 40));
}
// Bytes at random, but the f16 scales of each block small and positive.
__global__ void random_blocks(uint8_t *to, int64_t blocks, int from, int bytes, uint64_t seed) {
    for (int64_t b = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; b < blocks; b += (int64_t)gridDim.x * blockDim.x) {
        uint8_t *p = to + b * bytes;
        for (int i = 0; i < bytes; i++) p[i] = (uint8_t)mix((b << 8) + i + (seed << 44));
        int at = from == LINEAR_FROM_Q6_K ? 208 : 0,
            scales = from == LINEAR_FROM_Q4_K || from == LINEAR_FROM_Q5_K ? 2 : 1;
        if (from == LINEAR_FROM_BF16)
            p[1] = (p[1] & 0x80) | 0x3c | (p[1] & 1);
        else
            for (int i = 0; i < scales; i++) p[at + 2 * i + 1] = 0x18 | (p[at + 2 * i + 1] & 3);
    }
}

__device__ static float half_at(const uint8_t *p) {
    return __half2float(__ushort_as_half(p[0] | p[1] << 8));
}

// The scales of the types of 4 to 6 bits are rounded to bf16 first, as linear_layout.cuh says.
__device__ static float rounded(float f) {
    return __bfloat162float(__float2bfloat16(f));
}

__device__ static float plain_weight(const uint8_t *row, int from, int64_t col) {
    if (from == LINEAR_FROM_BF16) return __uint_as_float((uint32_t)(row[2 * col] | row[2 * col + 1] << 8) << 16);
    if (from == LINEAR_FROM_F32) return ((const float *)row)[col];
    if (from == LINEAR_FROM_Q8_0) {
        const uint8_t *b = row + col / 32 * 34;
        return half_at(b) * (int8_t)b[2 + col % 32];
    }
    if (from == LINEAR_FROM_Q4_0) {
        const uint8_t *b = row + col / 32 * 18;
        int i = col % 32, q = i < 16 ? b[2 + i] & 15 : b[2 + i - 16] >> 4;
        return rounded(half_at(b)) * (q - 8);
    }
    int i = col % 256;
    if (from == LINEAR_FROM_Q6_K) {
        const uint8_t *b = row + col / 256 * 210;
        int h = i / 128, s = i / 32 % 4, j = i % 32, low = b[64 * h + 32 * (s % 2) + j];
        int q = (s < 2 ? low & 15 : low >> 4) | (b[128 + 32 * h + j] >> 2 * s & 3) << 4;
        return rounded(half_at(b + 208) * (int8_t)b[192 + i / 16]) * (q - 32);
    }
    bool five = from == LINEAR_FROM_Q5_K;
    const uint8_t *b = row + col / 256 * (five ? 176 : 144), *p = b + 4;
    int g = i / 32, scale, minimum, byte = b[(five ? 48 : 16) + 32 * (i / 64) + i % 32];
    if (g < 4)
        scale = p[g] & 63, minimum = p[g + 4] & 63;
    else
        scale = (p[g + 4] & 15) | (p[g - 4] >> 6) << 4, minimum = p[g + 4] >> 4 | (p[g] >> 6) << 4;
    int q = i / 32 % 2 ? byte >> 4 : byte & 15;
    if (five) q |= (b[16 + i % 32] >> g & 1) << 4;
    return (float)((double)rounded(half_at(b) * scale) * q - (double)rounded(half_at(b + 2) * minimum));
}

__global__ void plain_matrix(const uint8_t *rows, int from, int64_t row_bytes, int64_t n, int64_t k, float *w) {
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < n * k; i += (int64_t)gridDim.x * blockDim.x)
        w[i] = rounded(plain_weight(rows + i / k * row_bytes, from, i % k));
}

struct mismatch {
    unsigned long long count, first; // first: smallest index
    float worst;
};
// One warp an output: pair (row, slot) and n.
__global__ void plain_check(const float *w, const float *x, const float *bias, const int32_t *index, int slots,
                            bool shared_x, const float *y, int64_t pairs, int64_t n, int64_t k, double tolerance,
                            mismatch *found) {
    int64_t at = (blockIdx.x * (int64_t)blockDim.x + threadIdx.x) / 32, pair = at / n, j = at % n;
    if (pair >= pairs) return;
    int64_t expert = index ? index[pair] : 0;
    const float *wr = w + (expert * n + j) * k, *xr = x + (shared_x ? pair / slots : pair) * k;
    double sum = 0, size = 0;
    for (int64_t i = threadIdx.x % 32; i < k; i += 32) {
        double v = (double)wr[i] * rounded(xr[i]);
        sum += v, size += fabs(v);
    }
    for (int s = 16; s; s /= 2) sum += __shfl_xor_sync(~0u, sum, s), size += __shfl_xor_sync(~0u, size, s);
    if (threadIdx.x % 32) return;
    if (bias) sum += bias[expert * n + j], size += fabs((double)bias[expert * n + j]);
    float off = (float)(fabs(y[at] - sum) / (size + 1e-30));
    if (off <= tolerance) {
        atomicMax((int *)&found->worst, __float_as_int(off));
        return;
    }
    if (atomicAdd(&found->count, 1ull) < 3)
        printf("    pair %lld n %lld: %g want %g (off %g of sizes)\n", (long long)pair, (long long)j, y[at], sum, off);
    atomicMin(&found->first, (unsigned long long)at);
}
__global__ void bits_check(const uint32_t *a, const uint32_t *b, int64_t n, mismatch *found) {
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < n; i += (int64_t)gridDim.x * blockDim.x)
        if (a[i] != b[i]) {
            if (atomicAdd(&found->count, 1ull) < 3)
                printf("    at %lld: %g and %g\n", (long long)i, __uint_as_float(a[i]), __uint_as_float(b[i]));
            atomicMin(&found->first, (unsigned long long)i);
        }
}

static mismatch *found;
static void found_reset() {
    mismatch m = {0, ~0ull, 0};
    CHECK(cudaMemcpy(found, &m, sizeof m, cudaMemcpyHostToDevice));
}
static mismatch found_get() {
    mismatch m;
    CHECK(cudaStreamSynchronize(stream));
    CHECK(cudaMemcpy(&m, found, sizeof m, cudaMemcpyDeviceToHost));
    return m;
}

template <class T> static T *device(size_t n) {
    T *p;
    CHECK(cudaMalloc(&p, n * sizeof(T) + 256));
    return p;
}

struct matrix {
    linear_matrix m;
    uint8_t *rows;
    int64_t row_bytes;
};
static matrix make(const type &t, int64_t n, int64_t k, int64_t experts, uint64_t seed, bool keep_rows) {
    matrix a = {};
    a.row_bytes = k / t.len * t.bytes;
    a.rows = device<uint8_t>((size_t)(n * experts * a.row_bytes));
    if (t.from == LINEAR_FROM_F32)
        random_f32<<<1024, 256, 0, stream>>>((float *)a.rows, n * experts * k, seed);
    else
        random_blocks<<<1024, 256, 0, stream>>>(a.rows, n * experts * k / t.len, t.from, t.bytes, seed);
    int64_t bytes = linear_matrix_bytes(t.kind, n, k);
    char *packed = device<char>((size_t)(bytes * experts));
    for (int64_t e = 0; e < experts; e++) {
        linear_source source = {a.rows + e * n * a.row_bytes, t.from, n, k, a.row_bytes};
        CHECK(linear_repack(&source, t.kind, 0, linear_tiles(n), packed + e * bytes, stream));
    }
    CHECK(cudaStreamSynchronize(stream));
    a.m = linear_matrix{packed, t.kind, linear_splits(t.kind, n, k), n, k, experts};
    if (!keep_rows) {
        CHECK(cudaFree(a.rows));
        a.rows = nullptr;
    }
    return a;
}
static void drop(matrix *a) {
    cudaFree((void *)a->m.packed), cudaFree(a->rows);
}

static char *scratch;
static size_t scratch_bytes = (size_t)1 << 30;

static linear_call call_of(const linear_matrix *m, const float *x, int rows, float *y) {
    linear_call c = {};
    c.matrix = m, c.x = x, c.x_stride = m->k * 4, c.rows = rows, c.out = y, c.out_stride = m->n * 4;
    c.scratch = scratch, c.scratch_bytes = scratch_bytes;
    return c;
}

static std::string name_of(const linear_tuning &t) {
    static const char *paths[] = {"auto", "rows", "tiles", "wgmma"};
    char s[100];
    snprintf(s, sizeof s, "%s bps%d st%d tile%d sep%d wgmma%d%s", paths[t.path], t.blocks_per_sm, t.stages, t.tile,
             t.separate, t.wgmma, t.serial ? " serial" : "");
    return s;
}

static void report(const char *what, const type &t, int64_t n, int64_t k, int rows, const std::string &how) {
    mismatch m = found_get();
    if (!m.count) return;
    printf("FAIL %s %s %ldx%ld rows %d %s: %llu wrong, first at row %llu column %llu\n", what, t.name, (long)n, (long)k,
           rows, how.c_str(), m.count, m.first / (unsigned long long)n, m.first % (unsigned long long)n);
    failures++;
}

// ---- checks

static void check_plain(const type &t, int64_t n, int64_t k) {
    if (failures > 30) return;
    const int most = 1024, listed[] = {1, 2, 3, 7, 8, 9, 16, 33, 100, 257, 1024};
    matrix a = make(t, n, k, 1, 7, true);
    float *w = device<float>((size_t)(n * k)), *x = device<float>((size_t)(most * k)), *bias = device<float>((size_t)n);
    float *y = device<float>((size_t)(most * n)), *z = device<float>((size_t)(most * n));
    char *half = device<char>((size_t)(most * linear_bf16_row_bytes(k)));
    plain_matrix<<<1024, 256, 0, stream>>>(a.rows, t.from, a.row_bytes, n, k, w);
    random_f32<<<1024, 256, 0, stream>>>(x, most * k, 1);
    random_f32<<<1024, 256, 0, stream>>>(bias, n, 2);
    CHECK(linear_to_bf16(x, k * 4, half, linear_bf16_row_bytes(k), most, k, false, stream));
    linear_call c = call_of(&a.m, x, most, y);
    c.bias = bias;
    CHECK(linear_run(&c, stream));
    found_reset();
    plain_check<<<(unsigned)((most * n + 7) / 8), 256, 0, stream>>>(w, x, bias, nullptr, 1, true, y, most, n, k,
                                                                    t.tolerance, found);
    report("values", t, n, k, most, "auto");
    float worst = found_get().worst;
    for (int rows : listed)
        for (int v = 0; v < 21; v++) {
            linear_tuning u = {};
            int from = rows < 900 ? 5 : 0; // rows of x begin elsewhere
            if (v == 1 || v == 2) u.path = LINEAR_BY_ROWS, u.blocks_per_sm = v;
            if (v == 3) u.serial = true;
            if (v == 4 || v == 5) u.path = LINEAR_BY_ROWS, u.stages = v - 3;
            if (v >= 18)
                u.path = LINEAR_BY_WGMMA, u.wgmma = v - 18;
            else if (v >= 6)
                u.path = LINEAR_BY_TILES, u.tile = 1 + (v - 6) % 4, u.separate = 1 + (v - 6) / 4;
            if (failures > 30 || (v && v < 6 && v != 3 && rows > 16)) continue;
            linear_call d = call_of(&a.m, x + from * k, rows, z);
            d.bias = bias, d.tuning = u;
            if (v & 1)
                d.x = half + from * linear_bf16_row_bytes(k), d.x_stride = linear_bf16_row_bytes(k), d.x_bf16 = true;
            CHECK(cudaMemsetAsync(z, 0xff, (size_t)(rows * n) * 4, stream));
            CHECK(linear_run(&d, stream));
            found_reset();
            bits_check<<<256, 256, 0, stream>>>((uint32_t *)y + from * n, (uint32_t *)z, rows * n, found);
            report("bits", t, n, k, rows, name_of(u) + (v & 1 ? " bf16 x" : ""));
        }
    printf("checked %-5s %5ldx%-5ld splits %d worst %.1e\n", t.name, (long)n, (long)k, a.m.splits, worst);
    fflush(stdout);
    drop(&a);
    cudaFree(w), cudaFree(x), cudaFree(bias), cudaFree(y), cudaFree(z), cudaFree(half);
}

static void check_stack(const type &t, int64_t n, int64_t k, int experts, int slots, int rows, bool shared_x) {
    if (failures > 30) return;
    matrix a = make(t, n, k, experts, 9, true);
    int64_t pairs = (int64_t)rows * slots;
    float *w = device<float>((size_t)(n * k * experts)), *x = device<float>((size_t)(pairs * k));
    float *bias = device<float>((size_t)(n * experts)), *y = device<float>((size_t)(pairs * n));
    float *z = device<float>((size_t)(pairs * n));
    int32_t *index = device<int32_t>((size_t)pairs);
    std::vector<int32_t> chosen;
    for (int64_t i = 0; i < pairs; i++) chosen.push_back((int32_t)(rand() % experts) * (rand() % 8 != 0));
    CHECK(cudaMemcpy(index, chosen.data(), (size_t)pairs * 4, cudaMemcpyHostToDevice));
    plain_matrix<<<1024, 256, 0, stream>>>(a.rows, t.from, a.row_bytes, n * experts, k, w);
    random_f32<<<1024, 256, 0, stream>>>(x, pairs * k, 1);
    random_f32<<<1024, 256, 0, stream>>>(bias, n * experts, 2);
    for (int v = 0; v < 9; v++) {
        linear_call c = call_of(&a.m, x, rows, v ? z : y);
        c.bias = bias, c.index = index, c.index_stride = slots * 4, c.slots = slots, c.out_stride = n * slots * 4;
        c.x_stride = k * 4 * (shared_x ? 1 : slots), c.x_slot_stride = shared_x ? 0 : k * 4;
        c.tuning.path = v == 0 ? LINEAR_BY_ROWS : v == 5 ? LINEAR_AUTO : v > 5 ? LINEAR_BY_WGMMA : LINEAR_BY_TILES;
        c.tuning.tile = v < 5 ? v : 0, c.tuning.wgmma = v > 5 ? v - 5 : 0;
        CHECK(linear_run_stack(&c, stream));
        found_reset();
        if (v)
            bits_check<<<256, 256, 0, stream>>>((uint32_t *)y, (uint32_t *)z, pairs * n, found);
        else
            plain_check<<<(unsigned)((pairs * n + 7) / 8), 256, 0, stream>>>(w, x, bias, index, slots, shared_x, y,
                                                                             pairs, n, k, t.tolerance, found);
        report(v ? "stack bits" : "stack values", t, n, k, rows, name_of(c.tuning));
    }
    printf("checked stack %s %d x %ldx%ld slots %d rows %d\n", t.name, experts, (long)n, (long)k, slots, rows);
    drop(&a);
    cudaFree(w), cudaFree(x), cudaFree(bias), cudaFree(y), cudaFree(z), cudaFree(index);
}

// ---- times

// Seconds of one run of `work`, captured in a graph.
static double time_graph(const std::function<void()> &work, int repeats) {
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaEvent_t a, b;
    CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    work();
    CHECK(cudaStreamEndCapture(stream, &graph));
    CHECK(cudaGraphInstantiate(&exec, graph, 0));
    CHECK(cudaEventCreate(&a));
    CHECK(cudaEventCreate(&b));
    CHECK(cudaGraphLaunch(exec, stream));
    CHECK(cudaEventRecord(a, stream));
    for (int i = 0; i < repeats; i++) CHECK(cudaGraphLaunch(exec, stream));
    CHECK(cudaEventRecord(b, stream));
    CHECK(cudaStreamSynchronize(stream));
    float ms;
    CHECK(cudaEventElapsedTime(&ms, a, b));
    cudaGraphExecDestroy(exec), cudaGraphDestroy(graph), cudaEventDestroy(a), cudaEventDestroy(b);
    return ms * 1e-3 / repeats;
}

__global__ void __launch_bounds__(512) read_all(const uint4 *p, int64_t n, uint32_t *to) {
    uint32_t sum = 0;
    int64_t step = (int64_t)gridDim.x * blockDim.x, i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
    for (; i + 7 * step < n; i += 8 * step) {
        uint4 v[8];
#pragma unroll
        for (int j = 0; j < 8; j++) v[j] = __ldcs(p + i + j * step);
#pragma unroll
        for (int j = 0; j < 8; j++) sum += v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
    }
    if (sum == 0x12345678) *to = sum;
}

static double read_rate, copy_rate, matrix_rate;
static void measure_bandwidth() {
    size_t bytes = (size_t)2 << 30;
    char *a = device<char>(bytes), *b = device<char>(bytes);
    CHECK(cudaMemset(a, 1, bytes));
    double copy = 1e9, read = 1e9;
    for (int i = 0; i < 3; i++) {
        copy = std::min(copy,
                        time_graph([&] { CHECK(cudaMemcpyAsync(b, a, bytes, cudaMemcpyDeviceToDevice, stream)); }, 4));
        read = std::min(
            read, time_graph([&] { read_all<<<132 * 4, 512, 0, stream>>>((uint4 *)a, bytes / 16, (uint32_t *)b); }, 4));
    }
    copy_rate = 2.0 * bytes / copy, read_rate = 1.0 * bytes / read;
    printf("copy %.0f GB/s (read + write), read %.0f GB/s\n", copy_rate / 1e9, read_rate / 1e9);
    cudaFree(a), cudaFree(b);
}

typedef int (*create_fn)(void **);
typedef int (*set_stream_fn)(void *, cudaStream_t);
typedef int (*gemm_fn)(void *, int, int, int, int, int, const void *, const void *, int, int, const void *, int, int,
                       const void *, void *, int, int, int, int);
static void *blas;
static gemm_fn blas_gemm;
static void find_blas() {
    std::vector<std::string> names = {"libcublas.so.13", "libcublas.so.12", "libcublas.so"};
    FILE *f = popen("timeout 6 find / -name 'libcublas.so*' -not -path '/proc/*' 2>/dev/null | head -4", "r");
    char line[1000];
    while (f && fgets(line, sizeof line, f)) names.push_back(std::string(line, strcspn(line, "\n")));
    if (f) pclose(f);
    for (const std::string &name : names) {
        size_t slash = name.rfind('/');
        if (slash != std::string::npos)
            for (const char *lt : {"libcublasLt.so.13", "libcublasLt.so.12"})
                dlopen((name.substr(0, slash + 1) + lt).c_str(), RTLD_NOW | RTLD_GLOBAL);
        void *lib = dlopen(name.c_str(), RTLD_NOW);
        if (!lib) continue;
        create_fn create = (create_fn)dlsym(lib, "cublasCreate_v2");
        set_stream_fn set_stream = (set_stream_fn)dlsym(lib, "cublasSetStream_v2");
        blas_gemm = (gemm_fn)dlsym(lib, "cublasGemmEx");
        if (create && set_stream && blas_gemm && create(&blas) == 0 && set_stream(blas, stream) == 0) {
            printf("cuBLAS: %s\n", name.c_str());
            return;
        }
    }
    blas = nullptr;
    printf("no cuBLAS\n");
}
// y[T,N] (bf16) = x[T,K] w[N,K]^T, seconds.
static double blas_time(int64_t n, int64_t k, int64_t rows) {
    if (!blas) return 0;
    float one = 1, zero = 0;
    uint8_t *w = device<uint8_t>((size_t)(n * k * 2)), *x = device<uint8_t>((size_t)(rows * k * 2));
    char *y = device<char>((size_t)(rows * n * 2));
    random_blocks<<<1024, 256, 0, stream>>>(w, n * k, LINEAR_FROM_BF16, 2, 1);
    random_blocks<<<1024, 256, 0, stream>>>(x, rows * k, LINEAR_FROM_BF16, 2, 2);
    auto work = [&] {
        int e = blas_gemm(blas, 1, 0, (int)n, (int)rows, (int)k, &one, w, 14, (int)k, x, 14, (int)k, &zero, y, 14,
                          (int)n, 68, -1);
        if (e) printf("cublas error %d\n", e);
    };
    work();
    CHECK(cudaStreamSynchronize(stream));
    cudaEvent_t a, b;
    CHECK(cudaEventCreate(&a));
    CHECK(cudaEventCreate(&b));
    CHECK(cudaEventRecord(a, stream));
    for (int i = 0; i < 5; i++) work();
    CHECK(cudaEventRecord(b, stream));
    CHECK(cudaStreamSynchronize(stream));
    float ms;
    CHECK(cudaEventElapsedTime(&ms, a, b));
    cudaFree(w), cudaFree(x), cudaFree(y);
    return ms * 1e-3 / 5;
}

struct shape {
    int64_t n, k;
};

// Copies of one matrix, so many that the L2 cache helps nobody.
struct pool {
    std::vector<linear_matrix> m;
    matrix a;
    double bytes;
};
static pool make_pool(const type &t, int64_t n, int64_t k, size_t at_least) {
    pool p;
    p.a = make(t, n, k, 1, 3, false);
    size_t one = (size_t)linear_matrix_bytes(t.kind, n, k);
    int count = (int)(at_least / one) + 1;
    p.bytes = (double)one;
    char *all = device<char>(one * (size_t)count);
    for (int i = 0; i < count; i++) {
        CHECK(cudaMemcpyAsync(all + one * i, p.a.m.packed, one, cudaMemcpyDeviceToDevice, stream));
        p.m.push_back(p.a.m);
        p.m.back().packed = all + one * i;
    }
    CHECK(cudaStreamSynchronize(stream));
    return p;
}
static void drop(pool *p) {
    cudaFree((void *)p->m[0].packed), drop(&p->a);
}

static float *time_x, *time_y;
static char *time_half;

static double time_pool(pool &p, int rows, const linear_tuning &u, int splits, bool bf16_x, int repeats) {
    return time_graph(
               [&] {
                   for (linear_matrix &m : p.m) {
                       if (splits) m.splits = splits;
                       linear_call c = call_of(&m, time_x, rows, time_y);
                       if (bf16_x) c.x = time_half, c.x_stride = linear_bf16_row_bytes(m.k), c.x_bf16 = true;
                       c.tuning = u;
                       CHECK(linear_run(&c, stream));
                   }
               },
               repeats) /
           (double)p.m.size();
}

static void time_decode(const type &t, shape s) {
    pool p = make_pool(t, s.n, s.k, 300 << 20);
    const int own = p.a.m.splits;
    double by_splits[9] = {}, best = 1e9;
    char best_name[100] = "", line[400] = "";
    for (int splits : {1, 2, 4, 8})
        for (int per_sm = 1; per_sm <= 3; per_sm++)
            for (int stages = 0; stages < 3; stages++) {
                if (splits > linear_units(t.kind, s.k) || (splits == 1 && s.n < 14336)) continue;
                linear_tuning u = {};
                u.path = LINEAR_BY_ROWS, u.blocks_per_sm = per_sm, u.stages = stages;
                double one = time_pool(p, 1, u, splits, true, 3);
                if (by_splits[splits] == 0 || one < by_splits[splits]) by_splits[splits] = one;
                if (one >= best) continue;
                best = one;
                snprintf(best_name, sizeof best_name, "S%d bps%d st%d", splits, per_sm, stages);
            }
    linear_tuning u = {};
    double plain = time_pool(p, 1, u, own, true, 5), f32 = time_pool(p, 1, u, own, false, 5);
    for (int rows : {2, 4, 8, 16}) { // by rows, by tiles
        linear_tuning by_rows = {}, by_tiles = {};
        by_rows.path = LINEAR_BY_ROWS, by_tiles.path = LINEAR_BY_TILES;
        snprintf(line + strlen(line), sizeof line - strlen(line), " T%d %.1f/%.1f", rows,
                 time_pool(p, rows, by_rows, own, true, 3) * 1e6, time_pool(p, rows, by_tiles, own, true, 3) * 1e6);
    }
    u.serial = true;
    double serial = time_pool(p, 1, u, own, true, 5);
    printf("decode %-5s %6ldx%-5ld S%d %6.2f us %3.0f%% of read (f32 x %.2f, serial %.2f) | best %.2f %3.0f%% %s, "
           "S1248 %.1f "
           "%.1f %.1f %.1f |%s\n",
           t.name, (long)s.n, (long)s.k, own, plain * 1e6, 100 * p.bytes / plain / read_rate, f32 * 1e6, serial * 1e6,
           best * 1e6, 100 * p.bytes / best / read_rate, best_name, by_splits[1] * 1e6, by_splits[2] * 1e6,
           by_splits[4] * 1e6, by_splits[8] * 1e6, line);
    fflush(stdout);
    drop(&p);
}

// All matrices of a model's step, one after the other.
static void time_model(const char *name, const type &t, int layers, std::vector<shape> of_layer, shape head, int rows) {
    std::vector<matrix> base;
    std::vector<linear_matrix> all;
    std::vector<char *> memory;
    double bytes = 0;
    for (const shape &s : of_layer) base.push_back(make(t, s.n, s.k, 1, 5, false));
    for (int l = 0; l < layers; l++)
        for (matrix &a : base) {
            size_t one = (size_t)linear_matrix_bytes(t.kind, a.m.n, a.m.k);
            memory.push_back(device<char>(one));
            CHECK(cudaMemcpy(memory.back(), a.m.packed, one, cudaMemcpyDeviceToDevice));
            all.push_back(a.m);
            all.back().packed = memory.back();
            bytes += (double)one;
        }
    base.push_back(make(t, head.n, head.k, 1, 5, false));
    all.push_back(base.back().m);
    bytes += (double)linear_matrix_bytes(t.kind, head.n, head.k);
    double times[3];
    for (int mode = 0; mode < 3; mode++) // together, one by one, one by one and serial
        times[mode] = time_graph(
            [&] {
                std::vector<linear_call> calls;
                for (linear_matrix &m : all) {
                    calls.push_back(call_of(&m, time_x, rows, time_y));
                    calls.back().tuning.serial = mode == 2;
                    if (!mode) continue;
                    CHECK(linear_run(&calls.back(), stream));
                }
                if (mode) return;
                for (size_t i = 0; i < calls.size(); i++) { // q k v | o | gate up | down
                    int some = i + 1 == calls.size() ? 1 : i % 7 == 0 ? 3 : i % 7 == 4 ? 2 : 1;
                    CHECK(linear_run_together(&calls[i], some, stream));
                    i += (size_t)some - 1;
                }
            },
            3);
    printf("model %s %s T%d: %.3f ms, %.0f GB/s, %.0f%% of read, %.0f%% of copy; one by one %.3f ms, serial %.3f ms\n",
           name, t.name, rows, times[0] * 1e3, bytes / times[0] / 1e9, 100 * bytes / times[0] / read_rate,
           100 * bytes / times[0] / copy_rate, times[1] * 1e3, times[2] * 1e3);
    fflush(stdout);
    for (char *p : memory) cudaFree(p);
    for (matrix &a : base) drop(&a);
}

static void time_middle(const type &t, shape s, int rows) {
    pool p = make_pool(t, s.n, s.k, rows <= 256 ? 200 << 20 : 0);
    double flops = 2.0 * s.n * s.k * rows, best = 1e9;
    double bound = std::max(p.bytes / read_rate, matrix_rate > 0 ? flops / matrix_rate : 0);
    char best_name[100] = "", line[300] = "";
    linear_tuning u = {};
    double own = time_pool(p, rows, u, 0, true, 2), f32 = time_pool(p, rows, u, 0, false, 2);
    for (int v = 0; v < 4; v++) {
        u.path = LINEAR_BY_WGMMA, u.wgmma = v;
        double one = time_pool(p, rows, u, 0, true, 2);
        snprintf(line + strlen(line), sizeof line - strlen(line), " w%d %.0f", v, one * 1e6);
        if (one < best) {
            best = one;
            snprintf(best_name, sizeof best_name, "wgmma %d", v);
        }
    }
    for (int tile = 1; tile <= 4; tile++)
        for (int separate = 1; separate <= 3; separate++) {
            if ((rows > 256 && tile < 4) || (separate > 1 && rows > 512)) continue;
            u.path = LINEAR_BY_TILES, u.tile = tile, u.separate = separate;
            double one = time_pool(p, rows, u, 0, true, 2);
            snprintf(line + strlen(line), sizeof line - strlen(line), " %d/%d %.0f", tile, separate, one * 1e6);
            if (one < best) {
                best = one;
                snprintf(best_name, sizeof best_name, "tile %d separate %d", tile, separate);
            }
        }
    printf(
        "T%-5d %-5s %5ldx%-5ld %7.1f us (f32 x %.1f) %4.0f TFLOP/s %3.0f%% of bound | best %7.1f us %3.0f%% %s |%s\n",
        rows, t.name, (long)s.n, (long)s.k, own * 1e6, f32 * 1e6, flops / own / 1e12, 100 * bound / own, best * 1e6,
        100 * bound / best, best_name, line);
    fflush(stdout);
    drop(&p);
}

static void time_experts(const type &t, int64_t n, int64_t k, int experts, int slots, int rows) {
    matrix a = make(t, n, k, experts, 9, false);
    int64_t pairs = (int64_t)rows * slots;
    int32_t *index = device<int32_t>((size_t)pairs);
    std::vector<int32_t> chosen;
    std::vector<char> used((size_t)experts);
    for (int64_t i = 0; i < pairs; i++) chosen.push_back((int32_t)(rand() % experts)), used[(size_t)chosen.back()] = 1;
    double touched = 0;
    for (char u : used) touched += u;
    CHECK(cudaMemcpy(index, chosen.data(), (size_t)pairs * 4, cudaMemcpyHostToDevice));
    linear_call c = call_of(&a.m, time_x, rows, time_y);
    c.index = index, c.index_stride = slots * 4, c.slots = slots, c.out_stride = n * slots * 4;
    double s = time_graph([&] { CHECK(linear_run_stack(&c, stream)); }, 5);
    if (rows >= 256) // which fault came in the tiles of 128 tokens?
        for (int v = 1; v <= 5; v++) {
            c.tuning = linear_tuning{};
            c.tuning.path = v == 5 ? LINEAR_BY_TILES : LINEAR_BY_WGMMA, c.tuning.wgmma = v, c.tuning.tile = 4;
            if (v == 4) c.tuning.path = LINEAR_BY_TILES, c.tuning.tile = 3;
            printf("  %s:", name_of(c.tuning).c_str());
            fflush(stdout);
            printf(" %.1f us\n", time_graph([&] { CHECK(linear_run_stack(&c, stream)); }, 2) * 1e6);
        }
    double bytes = touched * (double)linear_matrix_bytes(t.kind, n, k), flops = 2.0 * n * k * pairs;
    double bound = std::max(bytes / read_rate, matrix_rate > 0 ? flops / matrix_rate : 0);
    printf("experts %s %d x %ldx%ld, %d of them, T%d: %.1f us, %.0f%% of bound\n", t.name, experts, (long)n, (long)k,
           slots, rows, s * 1e6, 100 * bound / s);
    fflush(stdout);
    drop(&a);
    cudaFree(index);
}

static void checks() {
    double start = seconds();
    for (const type &t : types) {
        check_plain(t, 2048, 2048);
        check_plain(t, 1000, 1280);
        if (t.len == 1) check_plain(t, 50, 1000 + 4 * (t.from == LINEAR_FROM_F32));
        if (t.len == 32) check_plain(t, 136, 864);
        check_stack(t, 392, 512, 8, 3, 150, false);
        if (t.kind == MOSA_LINEAR_Q4_K) check_plain(t, 4096, 1024);
        check_stack(t, 392, 1024, 20, 2, 9, true);
        if (t.len == 1) check_stack(t, 72, 100, 12, 3, 50, false);
        if (t.kind == MOSA_LINEAR_Q8_0) check_stack(t, 1536, 512, 16, 4, 1000, true);
    }
    printf("checks: %d failures, %.1f s\n", failures, seconds() - start);
    fflush(stdout);
}

static void times() {
    const shape b1[] = {{2048, 2048}, {8192, 2048}, {2048, 8192}, {128256, 2048}};
    const shape b8[] = {{1024, 4096}, {4096, 4096}, {14336, 4096}, {4096, 14336}};
    double start = seconds();
    measure_bandwidth();
    find_blas();
    for (const shape &s : b8) {
        if (s.n == 1024) continue;
        double one = blas_time(s.n, s.k, 8192);
        if (one > 0) {
            double rate = 2.0 * 8192 * s.n * s.k / one;
            printf("cuBLAS bf16 T8192 %ldx%ld: %.0f TFLOP/s\n", (long)s.n, (long)s.k, rate / 1e12);
            matrix_rate = std::max(matrix_rate, rate);
        }
    }
    for (int i : {BF16, Q4_K}) {
        for (const shape &s : b1) time_decode(types[i], s);
        for (const shape &s : b8) time_decode(types[i], s);
    }
    for (int i : {2, 3, 5, 6}) time_decode(types[i], b8[2]);
    std::vector<shape> layer1 = {{2048, 2048}, {512, 2048},  {512, 2048}, {2048, 2048},
                                 {8192, 2048}, {8192, 2048}, {2048, 8192}};
    std::vector<shape> layer8 = {{4096, 4096},  {1024, 4096},  {1024, 4096}, {4096, 4096},
                                 {14336, 4096}, {14336, 4096}, {4096, 14336}};
    for (int i : {BF16, Q4_K})
        for (int rows : {1, 4}) {
            time_model("1B", types[i], 16, layer1, {128256, 2048}, rows);
            time_model("8B", types[i], 32, layer8, {128256, 4096}, rows);
        }
    for (int rows : {16, 32, 64, 128, 256})
        for (int i : {BF16, Q4_K})
            for (int s = 1; s < 4; s++) time_middle(types[i], b8[s], rows);
    for (int rows : {2048, 8192})
        for (int i : {BF16, Q4_K})
            for (int s = 1; s < 4; s++) time_middle(types[i], b8[s], rows);
    time_experts(types[BF16], 1536, 2048, 128, 8, 1);
    time_experts(types[BF16], 1536, 2048, 128, 8, 64);
    time_experts(types[Q4_K], 1536, 2048, 128, 8, 64);
    time_experts(types[BF16], 1536, 2048, 128, 8, 512);
    time_experts(types[BF16], 1536, 2048, 128, 8, 4096);
    printf("times: %.1f s\n", seconds() - start);
}

int main(int argc, char **argv) {
    cudaDeviceProp prop;
    CHECK(cudaGetDeviceProperties(&prop, 0));
    printf("%s, %d SMs, %.0f MB L2\n", prop.name, prop.multiProcessorCount, prop.l2CacheSize / 1e6);
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    found = device<mismatch>(1);
    scratch = device<char>(scratch_bytes);
    if (argc < 2 || !strcmp(argv[1], "check")) checks();
    if (argc < 2 || !strcmp(argv[1], "time")) {
        int64_t most = 8192 * 14336ll;
        time_x = device<float>((size_t)most), time_y = device<float>((size_t)most);
        time_half = device<char>((size_t)most * 2);
        random_f32<<<1024, 256, 0, stream>>>(time_x, most, 1);
        CHECK(linear_to_bf16(time_x, 14336 * 4, time_half, 14336 * 2, 8192, 14336, false, stream));
        times();
    }
    printf("linear_bench: %d failures\n", failures);
    return failures != 0;
}
