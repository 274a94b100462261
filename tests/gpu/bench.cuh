// What the stand-alone device benches share: checks, data, cuBLAS by dlopen, timing. Include it after hopper.cuh.
#ifndef MOSA_TESTS_GPU_BENCH_CUH
#define MOSA_TESTS_GPU_BENCH_CUH

#include <algorithm>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <dlfcn.h>
#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <vector>

#define CHECK(x)                                                                                                       \
    do {                                                                                                               \
        cudaError_t e_ = (x);                                                                                          \
        if (e_ != cudaSuccess) printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #x, cudaGetErrorString(e_)), exit(1);     \
    } while (0)

// Where a hang was, if there was one; host memory, which outlives the trap.
static volatile int *report;

static void open_report() {
    CHECK(cudaHostAlloc((void **)&report, 64, cudaHostAllocMapped));
    memset((void *)report, 0, 64);
    CHECK(cudaMemcpyToSymbol(hopper_report, (void *)&report, sizeof report));
}

static void give_up(const char *what, cudaError_t e) {
    printf("  %s: %s\n", what, cudaGetErrorString(e));
    if (report[0])
        printf("  hang: %s, block %d, thread %d, barrier at %d, parity %d\n", report[0] == 1 ? "producer" : "consumer",
               report[1], report[2], report[3], report[4]);
    exit(1);
}

// ---- data

__device__ static uint32_t hash(uint64_t i) {
    i = (i ^ (i >> 31)) * 0x9e3779b97f4a7c15ull;
    i = (i ^ (i >> 29)) * 0xbf58476d1ce4e5b9ull;
    return (uint32_t)(i >> 32);
}

// Near normal: the sum of eight uniform numbers.
__global__ void fill_bf16(__nv_bfloat16 *to, int64_t n, float scale, uint64_t seed) {
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < n; i += (int64_t)gridDim.x * blockDim.x) {
        float sum = 0;
        for (int k = 0; k < 2; k++) {
            uint32_t h = hash(seed + 2 * i + k);
            for (int b = 0; b < 4; b++) sum += (float)(h >> 8 * b & 255) - 127.5f;
        }
        to[i] = __float2bfloat16(sum * scale / 209.0f);
    }
}

__global__ void fill_f32(float *to, int64_t n, uint64_t seed) {
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < n; i += (int64_t)gridDim.x * blockDim.x)
        to[i] = (int)(hash(seed + i) & 0xffff) / 32768.0f - 1.0f;
}

// ---- cuBLAS, by its C interface

typedef int (*cublas_create_fn)(void **);
typedef int (*cublas_gemm_fn)(void *, int, int, int, int, int, const void *, const void *, int, int, const void *, int,
                              int, const void *, void *, int, int, int, int);
static void *cublas;
static cublas_gemm_fn cublas_gemm;

static bool try_cublas(const char *folder) {
    for (const char *version : {"13", "12"}) {
        std::string base = std::string(folder) + "/libcublas";
        void *so = dlopen((base + "Lt.so." + version).c_str(), RTLD_NOW | RTLD_GLOBAL); // first: the other one needs it
        if (so) so = dlopen((base + ".so." + version).c_str(), RTLD_NOW | RTLD_GLOBAL);
        if (!so) continue;
        cublas_create_fn create = (cublas_create_fn)dlsym(so, "cublasCreate_v2");
        cublas_gemm = (cublas_gemm_fn)dlsym(so, "cublasGemmEx");
        if (!create || !cublas_gemm || create(&cublas)) continue;
        printf("cuBLAS: %s\n", base.c_str());
        setenv("MOSA_CUBLAS", folder, 1);
        return true;
    }
    return false;
}

static bool open_cublas() {
    if (cublas) return true;
    static const char *const places[] = {
        "/usr/local/lib/python3*/*-packages/nvidia/cu*/lib", "/usr/lib/python3*/*-packages/nvidia/cu*/lib",
        "/opt/*/lib/python3*/site-packages/nvidia/cu*/lib",  "/usr/local/cuda*/lib64",
        "/usr/local/cuda*/targets/x86_64-linux/lib",         "/usr/lib/x86_64-linux-gnu",
        "/root/*/lib/python3*/site-packages/nvidia/cu*/lib", "/root/.*/*/*/lib/python3*/site-packages/nvidia/cu*/lib",
        "/*/*/lib/python3*/site-packages/nvidia/cu*/lib"};
    if (getenv("MOSA_CUBLAS") && try_cublas(getenv("MOSA_CUBLAS"))) return true;
    for (const char *place : places) {
        glob_t found;
        if (glob(place, 0, NULL, &found)) continue;
        for (size_t i = 0; i < found.gl_pathc; i++)
            if (try_cublas(found.gl_pathv[i])) return true;
        globfree(&found);
    }
    FILE *f = popen("timeout 20 find / -xdev -name 'libcublasLt.so.1[23]' -printf '%h\\n' 2>/dev/null", "r");
    char line[1024];
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        if (try_cublas(line)) return pclose(f), true;
    }
    if (f) pclose(f);
    printf("cuBLAS: not found\n");
    return false;
}

// ---- speed

template <class F> static double median_ms(F &&f) {
    cudaEvent_t a, b;
    CHECK(cudaEventCreate(&a));
    CHECK(cudaEventCreate(&b));
    std::vector<float> ms;
    f();
    for (int i = 0; i < 7; i++) {
        CHECK(cudaEventRecord(a));
        f();
        CHECK(cudaEventRecord(b));
        CHECK(cudaEventSynchronize(b));
        float t;
        CHECK(cudaEventElapsedTime(&t, a, b));
        ms.push_back(t);
    }
    std::sort(ms.begin(), ms.end());
    return ms[ms.size() / 2];
}

typedef struct bench_section {
    const char *name;
    void (*run)();
} bench_section;

static int failures;

// Runs the section that argv names, or all, each in a process of its own, so that a trap ends one section only.
template <int N> static int bench_main(int argc, char **argv, const bench_section (&sections)[N]) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    int failed = 0;
    for (auto &s : sections) {
        if (argc < 2) {
            std::string command = std::string("timeout 60 ") + argv[0] + " " + s.name;
            printf("== %s\n", s.name);
            if (system(command.c_str())) printf("== %s: FAILED\n", s.name), failed++;
        } else if (!strcmp(argv[1], s.name)) {
            open_report();
            s.run();
            return failures != 0;
        }
    }
    if (argc < 2) printf("%s: %d sections failed\n", argv[0], failed);
    return failed != 0;
}

#endif
