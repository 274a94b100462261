// Runs the linear kernels on a host, through the emulator, and compares with plain sums; checks that every path and
// every number of rows gives the same bits. Finds wrong indices and missing waits without a device.
#include "backend/cuda/plugin/linear.h"
#include "backend/cuda/plugin/linear_layout.cuh"
extern "C" {
#include "tensor/dtype.h"
}
#include <stdio.h>
#include <stdlib.h>
#include <vector>

struct kind {
    int kind;
    linear_source_type type;
    mosa_dtype dtype;
    double tolerance; // of the sum of |products|
};
static const kind kinds[] = {
    {MOSA_LINEAR_BF16, LINEAR_FROM_BF16, MOSA_BF16, 1e-5}, {MOSA_LINEAR_BF16, LINEAR_FROM_F16, MOSA_F16, 1e-5},
    {MOSA_LINEAR_BF16, LINEAR_FROM_F32, MOSA_F32, 1e-5},   {MOSA_LINEAR_Q8_0, LINEAR_FROM_Q8_0, MOSA_Q8_0, 1e-5},
    {MOSA_LINEAR_Q4_0, LINEAR_FROM_Q4_0, MOSA_Q4_0, 5e-3}, {MOSA_LINEAR_Q4_K, LINEAR_FROM_Q4_K, MOSA_Q4_K, 5e-3},
    {MOSA_LINEAR_Q5_K, LINEAR_FROM_Q5_K, MOSA_Q5_K, 5e-3}, {MOSA_LINEAR_Q6_K, LINEAR_FROM_Q6_K, MOSA_Q6_K, 5e-3}};
static int failures;

static float random_float() {
    return (float)(rand() % 20001 - 10000) / 5000.0f;
}
static float to_bf16(float f) {
    uint32_t bits;
    memcpy(&bits, &f, 4);
    bits = linear_round_bf16(bits) << 16;
    memcpy(&f, &bits, 4);
    return f;
}

struct stack {
    linear_matrix matrix;
    std::vector<char> packed;
    std::vector<float> w; // decoded, rounded to bf16
};
static stack make(const kind &t, int64_t n, int64_t k, int64_t experts, int splits) {
    stack s;
    size_t row_bytes;
    if (!mosa_dtype_bytes(t.dtype, k, &row_bytes)) abort();
    std::vector<float> f((size_t)(n * k));
    std::vector<char> rows(row_bytes * (size_t)n);
    s.packed.resize((size_t)(experts * linear_matrix_bytes(t.kind, n, k) + 16));
    char *base = (char *)(((uintptr_t)s.packed.data() + 15) / 16 * 16);
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(t.dtype);
    for (int64_t e = 0; e < experts; e++) {
        for (float &v : f) v = random_float();
        if (traits->from_f32)
            traits->from_f32(f.data(), rows.data(), n * k);
        else
            memcpy(rows.data(), f.data(), rows.size());
        traits->to_f32(rows.data(), f.data(), n * k);
        for (float v : f) s.w.push_back(to_bf16(v));
        for (int64_t tile = 0; tile < linear_tiles(n); tile += 8) { // as the upload does, a part at a time
            linear_source source = {(const uint8_t *)rows.data() + tile * 16 * (int64_t)row_bytes, t.type,
                                    n - tile * 16 < 128 ? n - tile * 16 : 128, k, (int64_t)row_bytes};
            linear_repack(&source, t.kind, tile, 8, base + e * linear_matrix_bytes(t.kind, n, k), 0);
        }
    }
    s.matrix = linear_matrix{base, t.kind, splits, n, k, experts};
    return s;
}

struct result {
    std::vector<float> y;
};
static void run(const stack &s, const std::vector<float> &x, bool as_bf16, int rows, int slots, bool shared_x,
                const int32_t *index, const float *bias, linear_tuning tuning, std::vector<float> &y) {
    int64_t n = s.matrix.n, k = s.matrix.k, parts = slots && !shared_x ? slots : 1;
    size_t bytes = linear_scratch_bytes(n, k, s.matrix.experts, slots, rows);
    std::vector<char> scratch(bytes + 256), half;
    linear_call call = {};
    call.matrix = &s.matrix, call.rows = rows, call.bias = bias;
    y.assign((size_t)(rows * n * (slots ? slots : 1)), NAN);
    call.out = y.data(), call.out_stride = n * (slots ? slots : 1) * 4;
    call.scratch = (void *)(((uintptr_t)scratch.data() + 255) / 256 * 256), call.scratch_bytes = bytes;
    call.x = x.data(), call.x_stride = k * parts * 4, call.x_slot_stride = parts > 1 ? k * 4 : 0;
    if (as_bf16) {
        half.resize((size_t)(rows * linear_bf16_row_bytes(k)) + 16);
        char *to = (char *)(((uintptr_t)half.data() + 15) / 16 * 16);
        linear_to_bf16(x.data(), k * 4, to, linear_bf16_row_bytes(k), rows, k, true, 0);
        call.x = to, call.x_stride = linear_bf16_row_bytes(k), call.x_bf16 = true;
    }
    call.index = index, call.index_stride = slots * 4, call.slots = slots, call.tuning = tuning;
    cudaError_t e = slots ? linear_run_stack(&call, 0) : linear_run(&call, 0);
    if (e) printf("FAIL: error %d\n", e), failures++;
}

static void check_values(const char *what, const kind &t, const stack &s, const std::vector<float> &x, int rows,
                         int slots, bool shared_x, const int32_t *index, const float *bias,
                         const std::vector<float> &y) {
    int64_t n = s.matrix.n, k = s.matrix.k;
    int per = slots ? slots : 1, bad = 0;
    for (int t0 = 0; t0 < rows * per; t0++) {
        int row = t0 / per, slot = t0 % per, expert = slots ? index ? index[t0] : slot : 0;
        const float *xr = x.data() + (slots && !shared_x ? t0 : row) * k;
        for (int64_t j = 0; j < n; j++) {
            const float *wr = s.w.data() + (expert * n + j) * k;
            double sum = bias ? bias[expert * n + j] : 0, size = fabs(sum) + 1e-6;
            for (int64_t i = 0; i < k; i++) sum += (double)wr[i] * to_bf16(xr[i]), size += fabs((double)wr[i] * xr[i]);
            double off = fabs(y[(size_t)(t0 * n + j)] - sum) / size;
            if (!(off <= t.tolerance) && bad++ < 4)
                printf("  %s row %d slot %d n %ld: %g, want %g (off %g)\n", what, row, slot, (long)j,
                       y[(size_t)(t0 * n + j)], sum, off);
        }
    }
    if (bad) printf("FAIL: kind %d n %ld k %ld rows %d %s: %d bad\n", t.kind, (long)n, (long)k, rows, what, bad);
    failures += bad != 0;
}

static void same(const char *what, const std::vector<float> &a, const std::vector<float> &b, size_t count) {
    if (!memcmp(a.data(), b.data(), count * sizeof(float))) return;
    printf("FAIL: %s: bits differ\n", what);
    failures++;
}

static void plain(const kind &t, int64_t n, int64_t k, int splits) {
    stack s = make(t, n, k, 1, splits);
    const int all = 40;
    std::vector<float> x((size_t)(all * k)), bias((size_t)n), y, first;
    for (float &v : x) v = random_float();
    for (float &v : bias) v = random_float();
    char what[100];
    for (int rows : {1, 9, all}) {
        for (int variant = 0; variant < 8; variant++) {
            linear_tuning tuning = {};
            bool as_bf16 = variant & 1;
            if (variant >= 2)
                tuning.path = LINEAR_BY_TILES, tuning.tile = 1 + (variant - 2) % 4;
            else
                tuning.path = LINEAR_BY_ROWS, tuning.blocks_per_sm = variant ? 1 : 2;
            if (variant >= 2) tuning.separate = 1 + (variant + rows) % 2;
            if (variant < 2 && rows > 16) continue;
            if (variant >= 6 && rows < all) continue;
            if ((variant == 4 || variant == 5) && rows == 9) continue;
            snprintf(what, sizeof what, "kind %d %ldx%ld rows %d variant %d splits %d", t.kind, (long)n, (long)k, rows,
                     variant, splits);
            run(s, x, as_bf16, rows, 0, false, nullptr, bias.data(), tuning, y);
            if (first.empty()) {
                check_values(what, t, s, x, rows, 0, false, nullptr, bias.data(), y);
                linear_tuning tiles = {};
                tiles.path = LINEAR_BY_TILES;
                run(s, x, false, all, 0, false, nullptr, bias.data(), tiles, first);
                check_values(what, t, s, x, all, 0, false, nullptr, bias.data(), first);
            }
            same(what, first, y, (size_t)(rows * n));
        }
    }
}

static void experts(const kind &t, int64_t n, int64_t k, int count, int slots, int rows) {
    stack s = make(t, n, k, count, linear_units(t.kind, k) > 1 ? 2 : 1);
    std::vector<float> x((size_t)(rows * slots * k)), bias((size_t)(n * count)), y, z;
    std::vector<int32_t> index;
    for (float &v : x) v = random_float();
    for (float &v : bias) v = random_float();
    for (int i = 0; i < rows * slots; i++) index.push_back(rand() % count);
    for (int shared_x = 0; shared_x < 2; shared_x++) {
        linear_tuning a = {}, b = {};
        a.path = LINEAR_BY_ROWS, b.path = LINEAR_BY_TILES;
        run(s, x, false, rows, slots, shared_x, index.data(), bias.data(), a, y);
        check_values("stack by rows", t, s, x, rows, slots, shared_x, index.data(), bias.data(), y);
        run(s, x, false, rows, slots, shared_x, index.data(), bias.data(), b, z);
        check_values("stack by tiles", t, s, x, rows, slots, shared_x, index.data(), bias.data(), z);
        same("stack", y, z, y.size());
    }
}

// Three matrices on the same rows, in one launch and in three.
static void together(const kind &t) {
    const int64_t k = 512, n[] = {200, 128, 50};
    const int splits[] = {2, 1, 2}, rows = 5;
    std::vector<stack> w;
    std::vector<float> x((size_t)(rows * k)), y[3], want;
    for (float &v : x) v = random_float();
    linear_call calls[3] = {};
    for (int i = 0; i < 3; i++) w.push_back(make(t, n[i], k, 1, splits[i]));
    for (int i = 0; i < 3; i++) {
        y[i].assign((size_t)(rows * n[i]), NAN);
        calls[i].matrix = &w[i].matrix, calls[i].rows = rows, calls[i].x = x.data(), calls[i].x_stride = k * 4;
        calls[i].out = y[i].data(), calls[i].out_stride = n[i] * 4;
    }
    if (linear_run_together(calls, 3, 0)) printf("FAIL: together\n"), failures++;
    for (int i = 0; i < 3; i++) {
        run(w[i], x, false, rows, 0, false, nullptr, nullptr, linear_tuning{}, want);
        same("together", y[i], want, want.size());
    }
}

int main(int argc, char **) {
    for (int late = 0; late < 2; late++) {
        emulate_late = late;
        for (const kind &t : kinds) {
            bool fine = t.dtype == MOSA_BF16 || t.dtype == MOSA_Q8_0;
            plain(t, 128, 512, 2);
            plain(t, 200, fine ? 416 : 768, t.kind == MOSA_LINEAR_Q8_0 ? 4 : 1);
            if (argc > 1) plain(t, 300, 2048, 8);
            experts(t, 72, 256, 5, 3, 30);
            together(t);
            printf("kind %d late %d done, %d failures\n", t.kind, late, failures);
            fflush(stdout);
        }
        plain(kinds[0], 50, 100, 2);
        plain(kinds[2], 130, 99 + 3, 1);
    }
    printf(failures ? "%d failures\n" : "all good\n", failures);
    return failures != 0;
}
