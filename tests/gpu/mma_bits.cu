// Do wgmma and mma.sync round alike? The serving contract (a row's result depends on the row alone) lets decode use
// mma.m16n8k16 and prefill wgmma only if both give the same bits for the same order of 16-column steps with carried f32
// sums. This compares, on one device, over shapes and kinds of data:
//   mma16    mma.sync m16n8k16, columns in order          the yardstick
//   order    the same with the 16 columns of each step permuted (do sums depend on the order within a step?)
//   swapped  the same with A and B exchanged
//   mma8     two mma.sync m16n8k8 a step
//   ssN, rsN wgmma m64nNk16 with A from shared memory, from registers
//   zero     wgmma with zeroed sums instead of scale-d = 0
// and all of them with a sum in double. Stand-alone:
//   nvcc -O2 -std=c++17 -arch=sm_90a -Isrc tests/gpu/mma_bits.cu -o mma_bits
#include "backend/cuda/plugin/hopper.cuh"

#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <math.h>
#include <random>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vector>

#define CHECK(x)                                                                                                       \
    do {                                                                                                               \
        cudaError_t e_ = (x);                                                                                          \
        if (e_ != cudaSuccess) printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #x, cudaGetErrorString(e_)), exit(1);     \
    } while (0)

enum { M = 64, N_MAX = 256, K_MAX = 8192 };
enum { MMA16, ORDER, SWAPPED, MMA8 };

__device__ static uint32_t pair(const __nv_bfloat16 *row, int x, int y) {
    return (uint32_t)__bfloat16_as_ushort(row[x]) | (uint32_t)__bfloat16_as_ushort(row[y]) << 16;
}

__device__ static void mma16(float c[4], const uint32_t a[4], const uint32_t b[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ static void mma8(float c[4], uint32_t a0, uint32_t a1, uint32_t b) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a0), "r"(a1), "r"(b));
}

// One warp a tile of 16 rows of a and 8 of b. a [.,k], b [.,k], d[row of a * sa + row of b * sb].
__global__ void by_mma(const __nv_bfloat16 *a, const __nv_bfloat16 *b, float *d, int k, int sa, int sb, int mode) {
    int g = threadIdx.x / 4, c = threadIdx.x % 4;
    const __nv_bfloat16 *top = a + (size_t)(blockIdx.x * 16 + g) * k, *low = top + (size_t)8 * k;
    const __nv_bfloat16 *col = b + (size_t)(blockIdx.y * 8 + g) * k;
    int x0 = mode == ORDER ? 4 * c + 3 : 2 * c, x1 = mode == ORDER ? 4 * c : 2 * c + 1;
    int y0 = mode == ORDER ? 4 * c + 2 : 2 * c + 8, y1 = mode == ORDER ? 4 * c + 1 : 2 * c + 9;
    float sum[4] = {};
    for (int i = 0; i < k; i += 16) {
        uint32_t f[4] = {pair(top + i, x0, x1), pair(low + i, x0, x1), pair(top + i, y0, y1), pair(low + i, y0, y1)};
        uint32_t h[2] = {pair(col + i, x0, x1), pair(col + i, y0, y1)};
        if (mode == MMA8)
            mma8(sum, f[0], f[1], h[0]), mma8(sum, f[2], f[3], h[1]);
        else
            mma16(sum, f, h);
    }
    int row = blockIdx.x * 16 + g, column = blockIdx.y * 8 + 2 * c;
    d[row * sa + column * sb] = sum[0], d[row * sa + (column + 1) * sb] = sum[1];
    d[(row + 8) * sa + column * sb] = sum[2], d[(row + 8) * sa + (column + 1) * sb] = sum[3];
}

template <int> __device__ static void stage(char *tile, const __nv_bfloat16 *from, int rows, int k) {
    for (int i = threadIdx.x; i < rows * 8; i += 128) {
        int r = i / 8, j = i % 8;
        *(uint4 *)(tile + r * 128 + ((j ^ (r & 7)) * 16)) = *(const uint4 *)(from + (size_t)r * k + j * 8);
    }
}

// One warpgroup: 64 rows of a, N rows of b. k is a multiple of 64. d [64,256].
template <int N, bool REGISTERS>
__global__ void by_wgmma(const __nv_bfloat16 *a, const __nv_bfloat16 *b, float *d, int k, int zero) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    extern __shared__ char raw[];
    char *tile_a = raw + (1024 - hopper_shared(raw) % 1024) % 1024, *tile_b = tile_a + 64 * 128;
    uint64_t da = hopper_descriptor(hopper_shared(tile_a)), db = hopper_descriptor(hopper_shared(tile_b));
    int w = threadIdx.x / 32, g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
    float sum[N / 2];
#pragma unroll
    for (int i = 0; i < N / 2; i++) sum[i] = 0;
    for (int i = 0; i < k; i += 64) {
        stage<0>(tile_a, a + i, 64, k);
        stage<0>(tile_b, b + i, N, k);
        asm volatile("fence.proxy.async;" ::: "memory");
        __syncthreads();
        uint32_t f[4][4];
        const __nv_bfloat16 *top = a + (size_t)(16 * w + g) * k + i, *low = top + (size_t)8 * k;
#pragma unroll
        for (int s = 0; s < 4; s++) {
            int x = 16 * s + 2 * c;
            f[s][0] = pair(top, x, x + 1), f[s][1] = pair(low, x, x + 1);
            f[s][2] = pair(top, x + 8, x + 9), f[s][3] = pair(low, x + 8, x + 9);
        }
        hopper_pin(sum);
        hopper_mma_fence();
#pragma unroll
        for (int s = 0; s < 4; s++)
            if (REGISTERS)
                hopper_mma_rs<N>(sum, f[s], db + 2 * s, i + s || zero);
            else
                hopper_mma_ss<N>(sum, da + 2 * s, db + 2 * s, i + s || zero);
        hopper_mma_commit();
        hopper_mma_wait<0>();
        hopper_pin(sum);
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < N / 2; i++) d[(16 * w + g + i / 2 % 2 * 8) * N_MAX + i / 4 * 8 + 2 * c + i % 2] = sum[i];
#endif
}

static float *run_d;
static int failures;

static std::vector<float> fetch(const char *what) {
    cudaError_t e = cudaDeviceSynchronize();
    if (e != cudaSuccess) printf("%s: %s\n", what, cudaGetErrorString(e)), exit(1);
    std::vector<float> d(M * N_MAX);
    CHECK(cudaMemcpy(d.data(), run_d, d.size() * 4, cudaMemcpyDeviceToHost));
    CHECK(cudaMemset(run_d, 0xff, d.size() * 4));
    return d;
}

static void compare(const char *what, int k, int n, const std::vector<float> &want, const std::vector<float> &got,
                    const std::vector<double> &exact, const std::vector<double> &size) {
    long differ = 0, shown = 0;
    double error = 0;
    for (int r = 0; r < M; r++)
        for (int c = 0; c < n; c++) {
            int i = r * N_MAX + c;
            double relative = fabs(got[i] - exact[i]) / (size[i] + 1e-300);
            if (!(relative <= error)) error = relative;
            if (!memcmp(&want[i], &got[i], 4)) continue;
            differ++;
            if (shown++ < 2)
                printf("    %s k=%d [%d,%d]: %a, mma16 %a, exact %a\n", what, k, r, c, got[i], want[i], exact[i]);
        }
    printf("  %-8s k=%-5d differ from mma16: %6ld of %6d   largest error / sum|ab|: %.2e%s\n", what, k, differ, M * n,
           error, error < 1e-3 ? "" : "  WRONG");
    if (!(error < 1e-3)) failures++;
}

template <int N>
static void wgmma(const __nv_bfloat16 *a, const __nv_bfloat16 *b, int k, const std::vector<float> &want,
                  const std::vector<double> &exact, const std::vector<double> &size) {
    int bytes = 1024 + 64 * 128 + N * 128;
    char name[32];
    for (int kind = 0; kind < (N == 256 ? 3 : 2); kind++) {
        snprintf(name, sizeof name, kind == 2 ? "zero" : kind ? "rs%d" : "ss%d", N);
        auto kernel = kind == 1 ? by_wgmma<N, true> : by_wgmma<N, false>;
        CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
        kernel<<<1, 128, bytes>>>(a, b, run_d, k, kind == 2);
        compare(name, k, N, want, fetch(name), exact, size);
    }
}

// Kinds of data: 0 normal, 1 normal with exponents spread over 2^+-20, 2 sums of subnormal size, 3 pairs that cancel.
static void fill(std::vector<__nv_bfloat16> &v, int rows, int k, int kind, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < (size_t)rows * k; i++) {
        float x = normal(random);
        if (kind == 1) x = ldexpf(x, (int)(random() % 41) - 20);
        if (kind == 2) x = ldexpf(x, -68);
        if (kind == 3 && i % 2) x = seed & 1 ? -__bfloat162float(v[i - 1]) : __bfloat162float(v[i - 1]);
        v[i] = __float2bfloat16(x);
    }
}

static void round_of(int k, int kind) {
    static const char *const names[] = {"normal", "wide exponents", "subnormal sums", "cancelling"};
    printf("k=%d, %s\n", k, names[kind]);
    std::vector<__nv_bfloat16> a((size_t)M * k), b((size_t)N_MAX * k);
    fill(a, M, k, kind, 2 * k + 1), fill(b, N_MAX, k, kind, 2 * k + 2);
    std::vector<double> exact(M * N_MAX), size(M * N_MAX);
    for (int r = 0; r < M; r++)
        for (int c = 0; c < N_MAX; c++)
            for (int i = 0; i < k; i++) {
                double p = (double)__bfloat162float(a[(size_t)r * k + i]) * __bfloat162float(b[(size_t)c * k + i]);
                exact[r * N_MAX + c] += p, size[r * N_MAX + c] += fabs(p);
            }
    __nv_bfloat16 *da, *db;
    CHECK(cudaMalloc(&da, a.size() * 2));
    CHECK(cudaMalloc(&db, b.size() * 2));
    CHECK(cudaMemcpy(da, a.data(), a.size() * 2, cudaMemcpyHostToDevice));
    CHECK(cudaMemcpy(db, b.data(), b.size() * 2, cudaMemcpyHostToDevice));
    by_mma<<<dim3(4, 32), 32>>>(da, db, run_d, k, N_MAX, 1, MMA16);
    std::vector<float> want = fetch("mma16");
    compare("mma16", k, N_MAX, want, want, exact, size);
    by_mma<<<dim3(4, 32), 32>>>(da, db, run_d, k, N_MAX, 1, ORDER);
    compare("order", k, N_MAX, want, fetch("order"), exact, size);
    by_mma<<<dim3(16, 8), 32>>>(db, da, run_d, k, 1, N_MAX, SWAPPED);
    compare("swapped", k, N_MAX, want, fetch("swapped"), exact, size);
    by_mma<<<dim3(4, 32), 32>>>(da, db, run_d, k, N_MAX, 1, MMA8);
    compare("mma8", k, N_MAX, want, fetch("mma8"), exact, size);
    wgmma<8>(da, db, k, want, exact, size);
    wgmma<64>(da, db, k, want, exact, size);
    wgmma<128>(da, db, k, want, exact, size);
    wgmma<192>(da, db, k, want, exact, size);
    wgmma<256>(da, db, k, want, exact, size);
    CHECK(cudaFree(da));
    CHECK(cudaFree(db));
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    CHECK(cudaMalloc(&run_d, M * N_MAX * 4));
    CHECK(cudaMemset(run_d, 0xff, M * N_MAX * 4));
    round_of(64, 0);
    for (int kind = 0; kind < 4; kind++) round_of(2048, kind);
    round_of(8192, 1);
    printf("%s\n",
           failures ? "mma_bits: WRONG results above" : "mma_bits: all near the exact sums; compare the counts");
    return failures != 0;
}
