// The Hopper GEMM of LINEAR (gemm_wgmma.cuh): correctness, bits, speed beside cuBLAS. Stand-alone:
//   nvcc -O3 -std=c++17 -arch=sm_90a -split-compile 0 -Isrc tests/gpu/gemm_bench.cu -o out
//   ./gemm_bench             every section, each in a process of its own, so that a trap ends one section only
//   ./gemm_bench NAME        one section: bits-bf16, bits-quant, tokens, bits-stack, speed-bf16, speed-quant,
//   speed-small
// bits-*: every variant against one warp per tile of mma.sync in the order of linear_layout.cuh, bit for bit; bf16
// against sums in double, too. tokens: a row's bits at several numbers of rows. speed-*: medians of several launches.
#define MOSA_HANG_GUARD
#include "../../src/backend/cuda/plugin/gemm_wgmma.cu"

#include "backend/cuda/plugin/linear_device.cuh"
#include "bench.cuh"

// Blocks of `bytes` random bytes whose f16 scales at `scale_at` (and the next, when two) are small.
__global__ void fill_blocks(uint8_t *to, int64_t blocks, int bytes, int scale_at, int scales, uint64_t seed) {
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < blocks; i += (int64_t)gridDim.x * blockDim.x) {
        uint8_t *b = to + i * bytes;
        for (int k = 0; k < bytes; k++) b[k] = hash(seed + i * bytes + k) >> 7;
        for (int k = 0; k < scales; k++) {
            b[scale_at + 2 * k] = hash(seed ^ i), b[scale_at + 2 * k + 1] = 0x14 + (hash(seed + i) & 3);
        }
    }
}

__global__ void pack(linear_source source, int kind, uint32_t *to, int64_t tiles, int64_t units) {
    int words = linear_unit_bytes(kind) / 4;
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < tiles * units * words;
         i += (int64_t)gridDim.x * blockDim.x)
        to[i] = linear_pack_word(&source, kind, i / words / units, i / words % units, (int)(i % words));
}

static const struct kind {
    const char *name;
    int kind;
    linear_source_type type;
    int block, bytes, scale_at, scales;
} kinds[] = {
    {"bf16", MOSA_LINEAR_BF16, LINEAR_FROM_BF16, 1, 2, 0, 0},
    {"q8_0", MOSA_LINEAR_Q8_0, LINEAR_FROM_Q8_0, 32, 34, 0, 1},
    {"q4_0", MOSA_LINEAR_Q4_0, LINEAR_FROM_Q4_0, 32, 18, 0, 1},
    {"q4_k", MOSA_LINEAR_Q4_K, LINEAR_FROM_Q4_K, 256, 144, 0, 2},
    {"q5_k", MOSA_LINEAR_Q5_K, LINEAR_FROM_Q5_K, 256, 176, 0, 2},
    {"q6_k", MOSA_LINEAR_Q6_K, LINEAR_FROM_Q6_K, 256, 210, 208, 1},
};

// A weight, its packed form, tokens, a bias and two outputs.
struct problem {
    const struct kind *kind;
    int64_t n, k;
    int rows;
    uint8_t *w = NULL;
    char *packed = NULL;
    __nv_bfloat16 *x = NULL;
    float *bias = NULL, *out = NULL, *want = NULL;
    char *scratch = NULL;
    size_t scratch_bytes;

    problem(const struct kind *kind_, int64_t n_, int64_t k_, int rows_) : kind(kind_), n(n_), k(k_), rows(rows_) {
        int64_t row_bytes = k / kind->block * kind->bytes;
        CHECK(cudaMalloc(&w, n * row_bytes));
        CHECK(cudaMalloc(&packed, linear_matrix_bytes(kind->kind, n, k)));
        CHECK(cudaMalloc(&x, rows * k * 2));
        CHECK(cudaMalloc(&bias, n * 4));
        CHECK(cudaMalloc(&out, rows * n * 4));
        scratch_bytes = rows <= 2048 ? linear_splits(kind->kind, n, k) * rows * ((n + 3) / 4 * 4) * 4 : 0;
        if (scratch_bytes) CHECK(cudaMalloc(&scratch, scratch_bytes));
        if (kind->block == 1)
            fill_bf16<<<1024, 256>>>((__nv_bfloat16 *)w, n * k, 1 / sqrtf((float)k), 1);
        else
            fill_blocks<<<1024, 256>>>(w, n * k / kind->block, kind->bytes, kind->scale_at, kind->scales, 1);
        fill_bf16<<<1024, 256>>>(x, rows * k, 1, 1ull << 40);
        fill_f32<<<64, 256>>>(bias, n, 1ull << 50);
        linear_source source = {w, kind->type, n, k, row_bytes};
        pack<<<4096, 256>>>(source, kind->kind, (uint32_t *)packed, linear_tiles(n), linear_units(kind->kind, k));
        CHECK(cudaDeviceSynchronize());
    }
    ~problem() {
        cudaFree(w), cudaFree(packed), cudaFree(x), cudaFree(bias), cudaFree(out), cudaFree(want), cudaFree(scratch);
    }
    mosa_cuda_gemm gemm(int rows_now) const {
        mosa_cuda_gemm g = {packed, kind->kind, linear_splits(kind->kind, n, k), n, k, x, k * 2, k, bias, out,
                            n * 4,  rows_now};
        g.scratch = scratch, g.scratch_bytes = scratch_bytes;
        return g;
    }
};

// ---- references

template <class Q>
__global__ void by_mma(const char *packed, const __nv_bfloat16 *x, const float *bias, float *out, int rows, int n,
                       int k, int units, int splits) {
    enum { STEPS = Q::UNIT_K / LINEAR_STEP, UNIT = Q::HEAD + STEPS * Q::STEP };
    int lane = threadIdx.x, g = lane / 4, c = lane % 4, token = blockIdx.y * 8 + g;
    const __nv_bfloat16 *row = x + (int64_t)(token < rows ? token : rows - 1) * k;
    float total[4];
    for (int s = 0; s < splits; s++) {
        float acc[4] = {};
        for (int i = linear_chunk(units, splits, s) * STEPS; i < linear_chunk(units, splits, s + 1) * STEPS; i++) {
            const char *unit = packed + ((int64_t)blockIdx.x * units + i / STEPS) * UNIT;
            Q q;
            q.load(unit + Q::HEAD + i % STEPS * Q::STEP, unit, i % STEPS, lane);
            uint32_t f[4][4];
            gemm_decode(f, q);
            for (int h = 0; h < 4; h++) {
                int col = i * LINEAR_STEP + 16 * h + 2 * c; // k is a multiple of 8 here
                uint32_t b0 = col < k ? *(const uint32_t *)(row + col) : 0,
                         b1 = col + 8 < k ? *(const uint32_t *)(row + col + 8) : 0;
                linear_mma(acc, f[h], b0, b1);
            }
        }
        for (int i = 0; i < 4; i++) total[i] = s ? total[i] + acc[i] : acc[i];
    }
    for (int i = 0; i < 4; i++) {
        int r = blockIdx.x * 16 + g + i / 2 * 8, t = blockIdx.y * 8 + 2 * c + i % 2;
        if (r < n && t < rows) out[(int64_t)t * n + r] = total[i] + bias[r];
    }
}

static void reference(problem &p, int splits) {
    if (!p.want) CHECK(cudaMalloc(&p.want, p.rows * p.n * 4));
    dim3 grid((unsigned)linear_tiles(p.n), (p.rows + 7) / 8);
    mosa_cuda_gemm g = p.gemm(p.rows);
    int units = (int)linear_units(g.kind, g.k);
#define REFERENCE(KIND, Q)                                                                                             \
    if (g.kind == KIND)                                                                                                \
    by_mma<Q><<<grid, 32>>>(p.packed, p.x, p.bias, p.want, p.rows, (int)p.n, (int)p.k, units, splits)
    REFERENCE(MOSA_LINEAR_BF16, linear_bf16);
    REFERENCE(MOSA_LINEAR_Q8_0, linear_q8_0);
    REFERENCE(MOSA_LINEAR_Q4_0, linear_q4_0);
    REFERENCE(MOSA_LINEAR_Q4_K, linear_q4_k);
    REFERENCE(MOSA_LINEAR_Q5_K, linear_q5_k);
    REFERENCE(MOSA_LINEAR_Q6_K, linear_q6_k);
    CHECK(cudaDeviceSynchronize());
}

__global__ void by_double(const __nv_bfloat16 *w, const __nv_bfloat16 *x, const float *bias, const float *got, int rows,
                          int n, int k, double *worst) {
    int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
    if (i >= (int64_t)rows * n) return;
    const __nv_bfloat16 *a = w + i % n * k, *b = x + i / n * k;
    double sum = bias[i % n], size = fabs(sum);
    for (int j = 0; j < k; j++) {
        double v = (double)__bfloat162float(a[j]) * __bfloat162float(b[j]);
        sum += v, size += fabs(v);
    }
    double error = fabs(got[i] - sum) / size;
    if (!(error < 1e30)) error = 1e30;
    atomicMax((unsigned long long *)worst, (unsigned long long)__double_as_longlong(error));
}

// ---- comparison

// Compares `rows` rows of out and want; says where the differences are.
static void compare(const char *what, const problem &p, int rows) {
    std::vector<float> got((size_t)rows * p.n), want(got.size());
    CHECK(cudaMemcpy(got.data(), p.out, got.size() * 4, cudaMemcpyDeviceToHost));
    CHECK(cudaMemcpy(want.data(), p.want, want.size() * 4, cudaMemcpyDeviceToHost));
    int64_t differ = 0, by_row[128] = {}, by_token[256] = {}, unwritten = 0;
    double far = 0;
    for (size_t i = 0; i < got.size(); i++) {
        if (!memcmp(&got[i], &want[i], 4)) continue;
        int64_t t = i / p.n, r = i % p.n;
        uint32_t bits;
        memcpy(&bits, &got[i], 4);
        unwritten += bits == 0xffffffffu;
        if (differ++ < 4)
            printf("    row %lld of w, token %lld: %.9g, want %.9g\n", (long long)r, (long long)t, got[i], want[i]);
        by_row[r % 128]++, by_token[t % 256]++;
        far = fmax(far, fabs(got[i] - want[i]));
    }
    printf("  %-34s %s: %lld of %zu differ (%lld unwritten), by %.3g at most\n", what, differ ? "DIFFERS" : "same bits",
           (long long)differ, got.size(), (long long)unwritten, far);
    if (!differ) return;
    failures++;
    printf("    by row %% 128 / 8:  ");
    for (int i = 0; i < 16; i++) {
        int64_t sum = 0;
        for (int k = 0; k < 8; k++) sum += by_row[8 * i + k];
        printf(" %lld", (long long)sum);
    }
    printf("\n    by token %% 256 / 16:");
    for (int i = 0; i < 16; i++) {
        int64_t sum = 0;
        for (int k = 0; k < 16; k++) sum += by_token[16 * i + k];
        printf(" %lld", (long long)sum);
    }
    printf("\n");
}

static bool run(const problem &p, int rows, int variant, int separate, const char *what) {
    mosa_cuda_gemm g = p.gemm(rows);
    g.separate = separate;
    CHECK(cudaMemset(p.out, 0xff, (size_t)rows * p.n * 4));
    cudaError_t e = mosa_cuda_gemm_launch(&g, variant, 0);
    if (e == cudaErrorNotSupported) return printf("  %s: not supported\n", what), false;
    if (e) give_up(what, e);
    e = cudaDeviceSynchronize();
    if (e) give_up(what, e);
    return true;
}

static void check(const struct kind *kind, int64_t n, int64_t k, int rows) {
    printf("%s n=%lld k=%lld rows=%d splits=%d\n", kind->name, (long long)n, (long long)k, rows,
           linear_splits(kind->kind, n, k));
    problem p(kind, n, k, rows);
    reference(p, linear_splits(p.kind->kind, p.n, p.k));
    if (kind->block == 1) {
        double *worst, error;
        CHECK(cudaMalloc(&worst, 8));
        CHECK(cudaMemset(worst, 0, 8));
        by_double<<<(unsigned)((rows * n + 255) / 256), 256>>>((const __nv_bfloat16 *)p.w, p.x, p.bias, p.want, rows,
                                                               (int)n, (int)k, worst);
        CHECK(cudaMemcpy(&error, worst, 8, cudaMemcpyDeviceToHost));
        printf("  mma.sync reference against double: %.2e of sum |ab|%s\n", error, error < 1e-4 ? "" : "  WRONG");
        if (!(error < 1e-4)) failures++;
    }
    for (int v = 1; v < mosa_cuda_gemm_variants(); v++)
        for (int separate = 1; separate < 3; separate++) {
            char what[64];
            snprintf(what, sizeof what, "%s %s%s", kind->name, mosa_cuda_gemm_variant_name(v),
                     separate == 2 ? " separate" : "");
            printf("  %s ...\n", what);
            if (run(p, rows, v, separate, what)) compare(what, p, rows);
        }
}

static void bits_bf16() {
    check(&kinds[0], 128, 64, 64);     // one tile, one step
    check(&kinds[0], 128, 512, 256);   // splits
    check(&kinds[0], 640, 4096, 300);  // edges, an odd number of tile rows
    check(&kinds[0], 4096, 1032, 777); // K that is no multiple of a step
    check(&kinds[0], 4096, 4096, 2048);
    check(&kinds[0], 36000, 1024, 515);
}

static void bits_quant() {
    for (int i = 1; i < 6; i++) {
        check(&kinds[i], 384, 2048, 130);
        check(&kinds[i], 6144, 4096, 600);
    }
}

static void tokens() {
    static const int rows[] = {1, 7, 8, 63, 64, 65, 128, 200, 256, 257, 511, 512, 1000, 2048};
    for (int i = 0; i < 4; i += 3) {
        problem p(&kinds[i], 4096, 4096, 2048);
        reference(p, linear_splits(p.kind->kind, p.n, p.k));
        for (int r : rows) {
            char what[64];
            snprintf(what, sizeof what, "%s rows=%d", kinds[i].name, r);
            if (run(p, r, 0, 0, what)) compare(what, p, r);
        }
    }
}

// A stack of `experts` matrices of n rows, a multiple of 128: packed, it is one matrix of experts * n rows.
static void check_stack(const struct kind *kind, int experts, int n, int k, int rows, int slots) {
    int splits = linear_splits(kind->kind, n, k), pairs = rows * slots;
    printf("%s stack of %d: n=%d k=%d rows=%d slots=%d splits=%d\n", kind->name, experts, n, k, rows, slots, splits);
    problem p(kind, (int64_t)experts * n, k, rows);
    reference(p, splits);
    std::vector<float> all((size_t)rows * p.n), want((size_t)pairs * n), got(want.size());
    CHECK(cudaMemcpy(all.data(), p.want, all.size() * 4, cudaMemcpyDeviceToHost));
    std::vector<int32_t> expert(pairs), order(pairs);
    for (int i = 0; i < pairs; i++) {
        expert[i] = (i * 7919 % 101) % (experts - 1), order[i] = i; // the last expert has none
        memcpy(&want[(size_t)i * n], &all[(size_t)(i / slots) * p.n + (size_t)expert[i] * n], n * 4);
    }
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return expert[a] < expert[b]; });
    char *x, *out;
    int32_t *device_order;
    mosa_cuda_gemm_group *device_groups;
    CHECK(cudaMalloc(&x, (size_t)pairs * k * 2));
    CHECK(cudaMalloc(&out, got.size() * 4));
    CHECK(cudaMalloc(&device_order, pairs * 4));
    CHECK(cudaMalloc(&device_groups, (pairs + experts) * sizeof(mosa_cuda_gemm_group)));
    CHECK(cudaMemcpy(device_order, order.data(), pairs * 4, cudaMemcpyHostToDevice));
    for (int i = 0; i < pairs; i++)
        CHECK(cudaMemcpy(x + (size_t)i * k * 2, p.x + (size_t)(order[i] / slots) * k, k * 2, cudaMemcpyDeviceToDevice));
    for (int v = 1; v < mosa_cuda_gemm_variants(); v++) {
        std::vector<mosa_cuda_gemm_group> groups;
        for (int i = 0, e = 0; i < pairs; e++)
            for (; i < pairs && expert[order[i]] == e; i += groups.back().count) {
                int end = i;
                while (end < pairs && expert[order[end]] == e && end - i < mosa_cuda_gemm_tokens(v)) end++;
                groups.push_back(mosa_cuda_gemm_group{e, i, end - i});
            }
        for (int i = 0; i < 3; i++) groups.push_back(mosa_cuda_gemm_group{-1, 0, 0});
        CHECK(cudaMemcpy(device_groups, groups.data(), groups.size() * sizeof groups[0], cudaMemcpyHostToDevice));
        CHECK(cudaMemset(out, 0xff, got.size() * 4));
        mosa_cuda_gemm g = p.gemm(pairs);
        g.n = n, g.splits = splits, g.x = x, g.out = (float *)out, g.out_stride = (int64_t)slots * n * 4;
        g.groups = device_groups, g.n_groups = (int)groups.size(), g.order = device_order, g.slots = slots;
        cudaError_t e = mosa_cuda_gemm_launch(&g, v, 0);
        if (e == cudaErrorNotSupported) continue;
        if (!e) e = cudaDeviceSynchronize();
        if (e) give_up(mosa_cuda_gemm_variant_name(v), e);
        CHECK(cudaMemcpy(got.data(), out, got.size() * 4, cudaMemcpyDeviceToHost));
        size_t differ = 0;
        for (size_t i = 0; i < got.size(); i++) {
            if (!memcmp(&got[i], &want[i], 4)) continue;
            if (differ++ < 4)
                printf("    pair %zu (expert %d) row %zu: %.9g, want %.9g\n", i / n, expert[i / n], i % n, got[i],
                       want[i]);
        }
        printf("  %-34s %s: %zu of %zu differ\n", mosa_cuda_gemm_variant_name(v), differ ? "DIFFERS" : "same bits",
               differ, got.size());
        failures += differ != 0;
    }
    cudaFree(x), cudaFree(out), cudaFree(device_order), cudaFree(device_groups);
}

static void bits_stack() {
    check_stack(&kinds[0], 8, 256, 512, 100, 2);
    check_stack(&kinds[0], 16, 768, 2048, 700, 4);
    check_stack(&kinds[3], 16, 768, 2048, 700, 4);
}

// ---- speed

// y[rows,n] (f32 or bf16) = x w^T
static int run_cublas(const problem &p, int rows, bool bf16_out) {
    float one = 1, zero = 0;
    return cublas_gemm(cublas, 1, 0, (int)p.n, rows, (int)p.k, &one, p.w, 14, (int)p.k, p.x, 14, (int)p.k, &zero, p.out,
                       bf16_out ? 14 : 0, (int)p.n, 68, -1);
}

static void speed(const struct kind *kind, int64_t n, int64_t k, int rows) {
    problem p(kind, n, k, rows);
    double flop = 2.0 * n * k * rows;
    printf("%-5s n=%-6lld k=%-6lld rows=%-5d TFLOP/s:", kind->name, (long long)n, (long long)k, rows);
    if (kind->block == 1 && open_cublas())
        for (int bf16 = 0; bf16 < 2; bf16++)
            printf("  cuBLAS %s %.0f", bf16 ? "bf16" : "f32",
                   flop / median_ms([&] { run_cublas(p, rows, bf16); }) * 1e-9);
    mosa_cuda_gemm g = p.gemm(rows);
    for (int v = 1; v <= mosa_cuda_gemm_variants(); v++)
        for (int separate = 1; separate < 3; separate++) {
            int variant = v % mosa_cuda_gemm_variants();
            g.separate = variant ? separate : 0;
            if (separate == 2 && (!variant || !g.scratch || g.splits == 1)) continue;
            if (mosa_cuda_gemm_launch(&g, variant, 0) == cudaErrorNotSupported) continue;
            double ms = median_ms([&] { CHECK(mosa_cuda_gemm_launch(&g, variant, 0)); });
            printf("  %s%s %.0f", mosa_cuda_gemm_variant_name(variant), separate == 2 ? "s" : "", flop / ms * 1e-9);
        }
    g.separate = 1;
    for (int lag : {0, 3000}) {
        int usual = gemm_lag;
        gemm_lag = lag;
        printf("  256x256 lag %d %.0f", lag, flop / median_ms([&] { CHECK(mosa_cuda_gemm_launch(&g, 3, 0)); }) * 1e-9);
        gemm_lag = usual;
    }
    if (g.splits > 1) {
        g.splits = 1;
        printf("  256x256 without chunks %.0f",
               flop / median_ms([&] { CHECK(mosa_cuda_gemm_launch(&g, 3, 0)); }) * 1e-9);
    }
    CHECK(cudaDeviceSynchronize());
    printf("\n");
}

static const int64_t shapes[][2] = {{6144, 4096}, {4096, 4096}, {28672, 4096}, {4096, 14336}, {1024, 4096}};

static void speed_bf16() {
    open_cublas();
    speed(&kinds[0], 8192, 8192, 8192);
    for (auto &s : shapes) speed(&kinds[0], s[0], s[1], 8192);
}
static void speed_quant() {
    for (int i = 1; i < 6; i++) speed(&kinds[i], 4096, 4096, 8192);
    speed(&kinds[3], 28672, 4096, 8192);
    speed(&kinds[3], 4096, 14336, 8192);
}
static void speed_small() {
    open_cublas();
    static const int rows[] = {64, 128, 256, 512, 1024, 2048};
    for (int r : rows)
        speed(&kinds[0], 4096, 4096, r), speed(&kinds[0], 28672, 4096, r), speed(&kinds[3], 4096, 4096, r);
}

int main(int argc, char **argv) {
    static const bench_section sections[] = {{"bits-bf16", bits_bf16},    {"bits-quant", bits_quant},
                                             {"tokens", tokens},          {"bits-stack", bits_stack},
                                             {"speed-bf16", speed_bf16},  {"speed-quant", speed_quant},
                                             {"speed-small", speed_small}};
    return bench_main(argc, argv, sections);
}
