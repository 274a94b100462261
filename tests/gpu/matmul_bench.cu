// Products of bf16 matrices for training (matmul_wgmma.cuh): correctness, speed beside cuBLAS. Stand-alone:
//   nvcc -O3 -std=c++17 -arch=sm_90a -Isrc tests/gpu/matmul_bench.cu -o matmul_bench
//   ./matmul_bench        every section, each in a process of its own
//   ./matmul_bench NAME   one: check (against sums in double, and both tiles bit for bit), speed
#define MOSA_HANG_GUARD
#include "../../src/backend/cuda/plugin/matmul_wgmma.cu"

#include "bench.cuh"

static const char *const layouts[] = {"y = x w^T", "dx = dy w", "dw = dy^T x"};
static const char *const outs[] = {"f32", "+= f32", "bf16"};

// layout: 0 both as they are, 1 b transposed, 2 both.
struct product {
    int layout, out, m, n, k;
    __nv_bfloat16 *a = NULL, *b = NULL;
    char *c = NULL, *begin = NULL; // begin: what c held before
    size_t bytes;

    product(int layout_, int out_, int m_, int n_, int k_) : layout(layout_), out(out_), m(m_), n(n_), k(k_) {
        bytes = (size_t)m * n * (out == MOSA_CUDA_MATMUL_BF16 ? 2 : 4);
        CHECK(cudaMalloc(&a, (size_t)m * k * 2));
        CHECK(cudaMalloc(&b, (size_t)n * k * 2));
        CHECK(cudaMalloc(&c, bytes));
        CHECK(cudaMalloc(&begin, bytes));
        fill_bf16<<<1024, 256>>>(a, (int64_t)m * k, 1, 1);
        fill_bf16<<<1024, 256>>>(b, (int64_t)n * k, 1 / sqrtf((float)k), 1ull << 40);
        if (out == MOSA_CUDA_MATMUL_ADD_F32)
            fill_f32<<<1024, 256>>>((float *)begin, (int64_t)m * n, 1ull << 50);
        else
            CHECK(cudaMemset(begin, 0xff, bytes));
        CHECK(cudaDeviceSynchronize());
    }
    ~product() { cudaFree(a), cudaFree(b), cudaFree(c), cudaFree(begin); }
    mosa_cuda_matmul call() const {
        int ta = layout == 2, tb = layout >= 1, size = out == MOSA_CUDA_MATMUL_BF16 ? 2 : 4;
        return mosa_cuda_matmul{a, b, 2ll * (ta ? m : k), 2ll * (tb ? n : k), ta, tb, c, (int64_t)size * n, out, m,
                                n, k};
    }
};

__global__ void by_double(mosa_cuda_matmul g, const float *begin, double *worst, int *at) {
    int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
    if (i >= (int64_t)g.m * g.n) return;
    int64_t r = i / g.n, c = i % g.n;
    const __nv_bfloat16 *a = (const __nv_bfloat16 *)g.a, *b = (const __nv_bfloat16 *)g.b;
    double sum = g.out == MOSA_CUDA_MATMUL_ADD_F32 ? begin[i] : 0, size = fabs(sum);
    for (int64_t j = 0; j < g.k; j++) {
        double v = (double)__bfloat162float(g.a_transposed ? a[j * g.m + r] : a[r * g.k + j]) *
                   __bfloat162float(g.b_transposed ? b[j * g.n + c] : b[c * g.k + j]);
        sum += v, size += fabs(v);
    }
    double got = g.out == MOSA_CUDA_MATMUL_BF16 ? __bfloat162float(((const __nv_bfloat16 *)g.c)[i]) : ((float *)g.c)[i];
    double error = fabs(got - sum) / size;
    if (!(error < 1e30)) error = 1e30;
    atomicMax((unsigned long long *)worst, (unsigned long long)__double_as_longlong(error));
    if (error > (g.out == MOSA_CUDA_MATMUL_BF16 ? 4e-3 : 1e-4) && !atomicAdd(at + 2, 1)) at[0] = (int)r, at[1] = (int)c;
}

static void run(const product &p, int tile, std::vector<char> *result) {
    mosa_cuda_matmul g = p.call();
    CHECK(cudaMemcpy(p.c, p.begin, p.bytes, cudaMemcpyDeviceToDevice));
    cudaError_t e = mosa_cuda_matmul_launch(&g, tile, 0);
    if (!e) e = cudaDeviceSynchronize();
    if (e) give_up("matmul", e);
    result->resize(p.bytes);
    CHECK(cudaMemcpy(result->data(), p.c, p.bytes, cudaMemcpyDeviceToHost));
}

static void check_one(int layout, int out, int m, int n, int k) {
    product p(layout, out, m, n, k);
    std::vector<char> small, large;
    double *worst, error[2];
    int *at, wrong[3];
    CHECK(cudaMalloc(&worst, 32));
    at = (int *)(worst + 2);
    printf("%-11s %-6s m=%d n=%d k=%d ...", layouts[layout], outs[out], m, n, k);
    for (int tile = 1; tile <= 2; tile++) {
        run(p, tile, tile == 1 ? &small : &large);
        CHECK(cudaMemset(worst, 0, 32));
        by_double<<<(unsigned)(((int64_t)m * n + 255) / 256), 256>>>(p.call(), (const float *)p.begin, worst, at);
        CHECK(cudaMemcpy(&error[tile - 1], worst, 8, cudaMemcpyDeviceToHost));
        CHECK(cudaMemcpy(wrong, at, 12, cudaMemcpyDeviceToHost));
        if (wrong[2]) printf("\n  tile %d WRONG: %d values, one at [%d,%d];", tile, wrong[2], wrong[0], wrong[1]);
        failures += wrong[2] != 0;
    }
    bool same = small == large;
    printf(" error of sum |ab|: 128x128 %.1e, 256x256 %.1e; %s\n", error[0], error[1],
           same ? "same bits" : "bits DIFFER between tiles");
    failures += !same;
    CHECK(cudaFree(worst));
}

static void check() {
    for (int layout = 0; layout < 3; layout++) {
        check_one(layout, MOSA_CUDA_MATMUL_F32, 128, 128, 64);
        check_one(layout, MOSA_CUDA_MATMUL_F32, 384, 520, 200);
        check_one(layout, MOSA_CUDA_MATMUL_BF16, 1000, 776, 1032);
        check_one(layout, MOSA_CUDA_MATMUL_ADD_F32, 768, 2304, 4096);
    }
}

static void speed_one(const char *what, int layout, int out, int m, int n, int k) {
    product p(layout, out, m, n, k);
    mosa_cuda_matmul g = p.call();
    double flop = 2.0 * m * n * k;
    float one = 1, beta = out == MOSA_CUDA_MATMUL_ADD_F32;
    CHECK(cudaMemset(p.c, 0, p.bytes));
    printf("%-14s %-11s %-6s m=%-6d n=%-6d k=%-6d TFLOP/s:", what, layouts[layout], outs[out], m, n, k);
    if (open_cublas())
        printf("  cuBLAS %.0f", flop * 1e-9 / median_ms([&] {
                                    cublas_gemm(cublas, g.b_transposed ? 0 : 1, g.a_transposed ? 1 : 0, n, m, k, &one,
                                                p.b, 14, g.b_transposed ? n : k, p.a, 14, g.a_transposed ? m : k, &beta,
                                                p.c, out == MOSA_CUDA_MATMUL_BF16 ? 14 : 0, n, 68, -1);
                                }));
    for (int i = 1; i <= 3; i++) {
        double ms = median_ms([&] { CHECK(mosa_cuda_matmul_launch(&g, i % 3, 0)); });
        printf("  %s %.0f", i == 1 ? "128x128" : i == 2 ? "256x256" : "chosen", flop * 1e-9 / ms);
    }
    CHECK(cudaDeviceSynchronize());
    printf("\n");
}

static void speed_layer(const char *what, int rows, int n, int k) {
    speed_one(what, 0, MOSA_CUDA_MATMUL_BF16, rows, n, k);
    speed_one(what, 1, MOSA_CUDA_MATMUL_BF16, rows, k, n);
    speed_one(what, 2, MOSA_CUDA_MATMUL_ADD_F32, n, k, rows);
}

static void speed() {
    open_cublas();
    speed_one("square", 0, MOSA_CUDA_MATMUL_BF16, 8192, 8192, 8192);
    speed_layer("124M fc", 32768, 3072, 768);
    speed_layer("124M qkv", 32768, 2304, 768);
    speed_layer("124M proj", 32768, 768, 768);
    speed_layer("124M head", 8192, 50304, 768);
    speed_layer("1.5B fc", 16384, 6400, 1600);
    speed_layer("8B down", 8192, 4096, 14336);
}

int main(int argc, char **argv) {
    static const bench_section sections[] = {{"check", check}, {"speed", speed}};
    return bench_main(argc, argv, sections);
}
