// Builds LINEAR problems by hand: one node over four values, no graph builder.
#include "linear_problem.h"

#include "backend/cpu/pack_internal.h"
#include "tensor/half.h"
#include "tensor/quant.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const float GUARD = 12345.0f;

uint32_t random_bits(uint64_t *state) {
    *state += 0x9e3779b97f4a7c15u; // splitmix64
    uint64_t z = *state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)(z >> 32);
}

float random_normal(uint64_t *state) {
    double u = ((double)random_bits(state) + 1) / 4294967296.0, v = (double)random_bits(state) / 4294967296.0;
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

static void *must_alloc(size_t bytes) {
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!memory) {
        fprintf(stderr, "linear test: out of memory\n");
        exit(1);
    }
    return memory;
}

// Scale fields of random blocks become small positive halves (or exponents near 1).
static void tame_scales(mosa_dtype dtype, unsigned char *block, uint64_t *seed) {
    uint16_t d = mosa_f16_from_f32(0.01f + 0.01f * (float)(random_bits(seed) % 100) / 100);
    uint16_t m = mosa_f16_from_f32(-0.05f * (float)(random_bits(seed) % 100) / 100);
    switch (dtype) {
    case MOSA_MXFP4:
        block[0] = (unsigned char)(120 + random_bits(seed) % 8);
        break;
    case MOSA_Q2_K:
        memcpy(block + 82, &d, 2);
        memcpy(block + 80, &d, 2);
        break;
    case MOSA_Q3_K:
        memcpy(block + 108, &d, 2);
        break;
    case MOSA_Q4_1:
    case MOSA_Q5_1:
        memcpy(block + 2, &m, 2);
        memcpy(block, &d, 2);
        break;
    default:
        memcpy(block, &d, 2);
    }
}

static void fill_weights(problem *p, weights_kind kind, uint64_t *seed) {
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(p->dtype);
    if (kind == WEIGHTS_NORMAL && traits->from_f32) {
        float *w = must_alloc((size_t)(p->n * p->k) * sizeof *w);
        for (int64_t i = 0; i < p->n * p->k; i++) w[i] = random_normal(seed) * 0.05f;
        traits->from_f32(w, p->file, p->n * p->k);
        free(w);
        return;
    }
    for (size_t i = 0; i < p->file_bytes; i++) p->file[i] = (unsigned char)random_bits(seed);
    if (kind == WEIGHTS_NORMAL)
        for (size_t at = 0; at < p->file_bytes; at += traits->block_bytes) tame_scales(p->dtype, p->file + at, seed);
}

problem *problem_create(mosa_dtype dtype, int64_t n, int64_t k, int rows, weights_kind kind, uint64_t *seed) {
    problem *p = must_alloc(sizeof *p);
    *p = (problem){.dtype = dtype, .n = n, .k = k, .rows = rows};
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(dtype);
    p->file_bytes = (size_t)(n * k / traits->block_len * traits->block_bytes);
    p->file = (unsigned char *)must_alloc(p->file_bytes + 2) + 2;
    fill_weights(p, kind, seed);
    p->packed_bytes = mosa_cpu_packed_bytes(dtype, n, k);
    p->packed = must_alloc(p->packed_bytes);
    p->weight.view = (mosa_tensor_view){"w", dtype, 2, {n, k, 1, 1, 1, 1, 1, 1}, n * k, p->file, p->file_bytes};
    p->weight.packed = p->packed;
    p->weight.packed_bytes = p->packed_bytes;
    mosa_cpu_pack_rows(&p->weight.view, p->packed, 0, n);
    p->x = must_alloc((size_t)(rows * k) * sizeof(float));
    for (int64_t i = 0; i < rows * k; i++) p->x[i] = random_normal(seed);
    int layout = mosa_cpu_act_layout(dtype, k);
    p->act_stride = (mosa_cpu_act_row_bytes(layout, k) + 63) / 64 * 64;
    p->act = must_alloc((size_t)(rows * p->act_stride));
    p->y_stride = n + 1;
    p->y = must_alloc((size_t)(rows * p->y_stride) * sizeof(float));
    for (int64_t i = 0; i < rows * p->y_stride; i++) p->y[i] = GUARD;
    for (int i = 0; i < 8; i++) p->scratch[i] = must_alloc(MOSA_CPU_SCRATCH_BYTES);
    return p;
}

void problem_destroy(problem *p) {
    free(p->file - 2);
    free(p->packed);
    free(p->x);
    free(p->bias);
    free(p->act);
    free(p->y);
    for (int i = 0; i < 8; i++) free(p->scratch[i]);
    free(p);
}

enum { X, W, BIAS, Y, VALUES };

void problem_run(problem *p, mosa_op op, mosa_cpu_kernel_fn kernel, int thread, int n_threads) {
    int layout = mosa_cpu_act_layout(p->dtype, p->k);
    mosa_value_info values[VALUES] = {
        [X] = {.kind = MOSA_VALUE_INPUT, .dtype = MOSA_F32, .shape = MOSA_SHAPE2(MOSA_ROWS, p->k)},
        [W] = {.kind = MOSA_VALUE_WEIGHT, .dtype = p->dtype, .shape = MOSA_SHAPE2(p->n, p->k)},
        [BIAS] = {.kind = MOSA_VALUE_INPUT, .dtype = MOSA_F32, .shape = MOSA_SHAPE1(p->n)},
        [Y] = {.kind = MOSA_VALUE_COMPUTED, .dtype = MOSA_F32, .shape = MOSA_SHAPE2(MOSA_ROWS, p->n)},
    };
    mosa_graph graph = {.values = values, .n_values = VALUES};
    mosa_node node = {.op = op, .in = {X, W, BIAS}, .out = {Y}, .n_in = p->bias ? 3 : 2, .n_out = 1};
    mosa_cpu_args args = {.graph = &graph, .node = &node, .rows = p->rows, .scratch = p->scratch[thread]};
    args.in[0] = p->x;
    args.in_stride[0] = p->k * (int64_t)sizeof(float);
    if (op == MOSA_OP_QUANTIZE_ROWS) {
        node.n_in = 1;
        node.attrs.quantize.layout = layout;
        args.out[0] = p->act;
        args.out_stride[0] = p->act_stride;
    } else {
        if (layout != MOSA_ACT_F32) {
            args.in[0] = p->act;
            args.in_stride[0] = p->act_stride;
        }
        args.in[1] = &p->weight;
        args.in[2] = p->bias;
        args.out[0] = p->y;
        args.out_stride[0] = p->y_stride * (int64_t)sizeof(float);
    }
    kernel(&args, thread, n_threads);
}

void problem_quantize(problem *p, mosa_cpu_kernel_fn kernel, int n_threads) {
    if (mosa_cpu_act_layout(p->dtype, p->k) == MOSA_ACT_F32) return;
    for (int t = 0; t < n_threads; t++) problem_run(p, MOSA_OP_QUANTIZE_ROWS, kernel, t, n_threads);
}

void problem_linear(problem *p, mosa_cpu_kernel_fn kernel, int n_threads) {
    for (int t = 0; t < n_threads; t++) problem_run(p, MOSA_OP_LINEAR, kernel, t, n_threads);
}

const isa *fast_isas(int *count) {
    static const isa isas[] = {
        {"avx512", mosa_avx512_linear, mosa_avx512_quantize_rows, mosa_avx512_linear_rows},
        {"avx2", mosa_avx2_linear, mosa_avx2_quantize_rows, mosa_avx2_linear_rows},
    };
    mosa_cpu_features has = mosa_cpu_detect();
    int first = has.avx512 ? 0 : 1;
    *count = has.avx2 && has.fma && has.f16c ? 2 - first : 0;
    return isas + first;
}
