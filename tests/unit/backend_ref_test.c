// The reference against the textbook: functions against double precision over the range of floats, ops against formulas
// in double precision.
#include "backend/cpu/math.h"
#include "backend/cpu/ref/ref.h"
#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// Distance in units of the last place of the expected value.
static double ulps(float got, double expected) {
    float near = fabsf((float)expected);
    return fabs((double)got - expected) / (double)(nextafterf(near, INFINITY) - near);
}

// Calls `visit` for floats spread evenly over the bit patterns between lo and hi, both signs when `both`.
static void sweep(float lo, float hi, bool both, void (*visit)(float x)) {
    uint32_t begin = mosa_f32_bits(lo), end = mosa_f32_bits(hi), step = (end - begin) / 200000 | 1;
    for (uint64_t bits = begin; bits <= end; bits += step) {
        visit(mosa_f32_from_bits((uint32_t)bits));
        if (both) visit(-mosa_f32_from_bits((uint32_t)bits));
    }
}

static double worst;

static void visit_exp(float x) {
    if (x < -87.336f) return;
    worst = fmax(worst, ulps(mosa_expf(x), exp((double)x)));
}

static void exp_is_within_one_ulp(void **state) {
    (void)state;
    worst = 0;
    sweep(1e-10f, 88.37f, true, visit_exp);
    print_message("exp: %.3f ulp\n", worst);
    assert_true(worst < 1);
    assert_true(mosa_expf(0) == 1 && mosa_expf(-0.0f) == 1);
    assert_true(mosa_expf(1e30f) > 2e38f && isfinite(mosa_expf(INFINITY)));
    assert_true(mosa_expf(-1e30f) < 1.2e-38f && mosa_expf(-INFINITY) > 0);
    assert_true(isnan(mosa_expf(NAN)));
}

static void visit_tanh(float x) {
    worst = fmax(worst, ulps(mosa_tanhf(x), tanh((double)x)));
}

static void tanh_is_within_two_ulp(void **state) {
    (void)state;
    worst = 0;
    sweep(1e-30f, 100, true, visit_tanh);
    print_message("tanh: %.3f ulp\n", worst);
    assert_true(worst < 2);
    assert_true(mosa_tanhf(INFINITY) == 1 && mosa_tanhf(-INFINITY) == -1 && isnan(mosa_tanhf(NAN)));
}

static void visit_erf(float x) {
    worst = fmax(worst, fabs((double)mosa_erff(x) - erf((double)x)));
}

static void erf_is_within_1_2e_7(void **state) {
    (void)state;
    worst = 0;
    sweep(1e-30f, 10, true, visit_erf);
    print_message("erf: %.3g\n", worst);
    assert_true(worst < 1.2e-7);
    assert_true(mosa_erff(INFINITY) == 1 && mosa_erff(-INFINITY) == -1 && isnan(mosa_erff(NAN)));
}

static double act_of(mosa_act kind, double x) {
    switch (kind) {
    case MOSA_ACT_SILU:
        return x / (1 + exp(-x));
    case MOSA_ACT_GELU:
        return 0.5 * x * (1 + erf(x * sqrt(0.5)));
    case MOSA_ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    case MOSA_ACT_RELU:
        return x > 0 ? x : 0;
    case MOSA_ACT_SIGMOID:
        return 1 / (1 + exp(-x));
    case MOSA_ACT_TANH:
        return tanh(x);
    case MOSA_ACT_CLAMPED_SWIGLU:
        break;
    }
    return x;
}

static void activations_are_close_everywhere(void **state) {
    (void)state;
    for (int kind = 0; kind <= MOSA_ACT_TANH; kind++)
        for (float x = -40; x < 40; x += 1.0f / 128) {
            double expected = act_of((mosa_act)kind, (double)x), got = (double)mosa_actf((mosa_act)kind, x);
            if (fabs(got - expected) > 4e-7 * fmax(1, fabs((double)x)))
                fail_msg("act %d of %g: %.9g is not %.9g", kind, (double)x, got, expected);
        }
}

static void a_clamped_swiglu_is_close_everywhere(void **state) {
    (void)state;
    for (float gate = -30; gate < 30; gate += 0.125f)
        for (float up = -10; up < 10; up += 0.125f) {
            double g = fmin((double)gate, 7), u = fmin(fmax((double)up, -7), 7);
            double expected = (u + 1) * g / (1 + exp(-1.702 * g));
            assert_float_equal(mosa_clamped_swigluf(gate, up, 7), expected, 1e-6 * (1 + fabs(expected)));
        }
}

// ---- ops
// --------------------------------------------------------------------------------------------------------------

enum { ROWS = 21, HEADS = 6, KV_HEADS = 2, WIDTH = 20, Q = HEADS * WIDTH, KV = KV_HEADS * WIDTH };
enum { VALUE = 12 }; // columns of a value that is not as wide as its key

static void fill(float *x, int n, uint64_t seed) {
    for (int i = 0; i < n; i++) x[i] = (float)mosa_rng_uniform(seed, (uint64_t)i) * 2 - 1;
}

static void norms_follow_their_formulas(void **state) {
    (void)state;
    enum { GROUP = 50, GROUPS = 3, N = GROUP * GROUPS };
    mosa_graph *g = mosa_graph_create(NULL);
    mosa_value x = mosa_graph_input(g, "x", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, N));
    mosa_value w = mosa_graph_weight(g, "w", MOSA_F32, MOSA_SHAPE1(GROUP)),
               b = mosa_graph_weight(g, "b", MOSA_F32, MOSA_SHAPE1(GROUP));
    mosa_attrs attrs = {.norm = {0.01f, GROUP}};
    mosa_graph_apply(g, MOSA_OP_RMS_NORM, (mosa_value[]){x, w}, 2, &attrs);
    mosa_graph_apply(g, MOSA_OP_LAYER_NORM, (mosa_value[]){x, w, b}, 3, &attrs);
    mosa_graph_apply(g, MOSA_OP_L2_NORM, &x, 1, &attrs);
    float data[N], scale[GROUP], bias[GROUP], y[N];
    fill(data, N, 1);
    fill(scale, GROUP, 2);
    fill(bias, GROUP, 3);
    mosa_weight weights[2] = {{.vector = scale}, {.vector = bias}};
    static const mosa_cpu_kernel_fn kernels[] = {mosa_ref_rms_norm, mosa_ref_layer_norm, mosa_ref_l2_norm};
    for (int op = 0; op < 3; op++) {
        mosa_cpu_args args = {
            .graph = g, .node = &g->nodes[op], .rows = 1, .in = {data, &weights[0], &weights[1]}, .out = {y}};
        kernels[op](&args, 0, 1);
        for (int c = 0; c < N; c += GROUP) {
            double sum = 0, squares = 0, spread = 0;
            for (int i = 0; i < GROUP; i++)
                sum += (double)data[c + i], squares += (double)data[c + i] * (double)data[c + i];
            for (int i = 0; i < GROUP; i++) spread += pow((double)data[c + i] - sum / GROUP, 2);
            for (int i = 0; i < GROUP; i++) {
                double v = (double)data[c + i], expected = v / fmax(sqrt(squares), 0.01);
                if (op == 0) expected = v / sqrt(squares / GROUP + 0.01) * (double)scale[i];
                if (op == 1)
                    expected = (v - sum / GROUP) / sqrt(spread / GROUP + 0.01) * (double)scale[i] + (double)bias[i];
                assert_float_equal(y[c + i], expected, 1e-6);
            }
        }
    }
    mosa_graph_destroy(g);
}

static void rotation_turns_pairs_by_position_times_frequency(void **state) {
    (void)state;
    enum { HEAD = 10, ROT = 6, T = 3 };
    for (int style = 0; style < 2; style++) {
        mosa_graph *g = mosa_graph_create(NULL);
        mosa_value positions = mosa_graph_input(g, "p", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
        mosa_value x = mosa_graph_input(g, "x", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, 2 * HEAD));
        mosa_value freq = mosa_graph_weight(g, "f", MOSA_F32, MOSA_SHAPE1(ROT / 2));
        mosa_g_rope(g, x, mosa_g_rope_table(g, positions, freq, 1.5f), HEAD, (mosa_rope_style)style);
        int32_t p[T] = {0, 7, 131000};
        float f[ROT / 2] = {1, 0.31f, 0.002f}, data[T * 2 * HEAD], table[T * ROT], y[T * 2 * HEAD];
        fill(data, T * 2 * HEAD, 5);
        mosa_weight weight = {.vector = f};
        mosa_cpu_args make = {
            .graph = g, .node = &g->nodes[0], .rows = T, .in = {p, &weight}, .out = {table}, .out_stride = {ROT * 4}};
        mosa_ref_rope_table(&make, 0, 1);
        mosa_cpu_args turn = {.graph = g,
                              .node = &g->nodes[1],
                              .rows = T,
                              .in = {data, table},
                              .out = {y},
                              .in_stride = {2 * HEAD * 4, ROT * 4},
                              .out_stride = {2 * HEAD * 4}};
        mosa_ref_rope(&turn, 0, 1);
        for (int t = 0; t < T; t++)
            for (int h = 0; h < 2; h++) {
                const float *in = data + t * 2 * HEAD + h * HEAD, *out = y + t * 2 * HEAD + h * HEAD;
                for (int i = 0; i < ROT / 2; i++) {
                    int a = style == MOSA_ROPE_HALF ? i : 2 * i, b = style == MOSA_ROPE_HALF ? i + ROT / 2 : 2 * i + 1;
                    double angle = (double)((float)p[t] * f[i]); // the angle is an f32
                    assert_float_equal(out[a], 1.5 * ((double)in[a] * cos(angle) - (double)in[b] * sin(angle)), 1e-6);
                    assert_float_equal(out[b], 1.5 * ((double)in[b] * cos(angle) + (double)in[a] * sin(angle)), 1e-6);
                }
                assert_memory_equal(in + ROT, out + ROT, (HEAD - ROT) * sizeof(float));
            }
        mosa_graph_destroy(g);
    }
}

// softmax(scale q k + mask) v in double precision for one head of one row of a segment; values lie v_stride apart.
static void attend(const mosa_attrs *attrs, const float *q, const float *k, const float *v, int v_stride,
                   const float *sink, int rows, int row, double *y) {
    double weights[ROWS], sum = sink ? exp((double)*sink) : 0;
    for (int j = 0; j < rows; j++) {
        double dot = 0;
        for (int c = 0; c < WIDTH; c++) dot += (double)q[c] * (double)k[j * KV + c];
        dot *= (double)attrs->attention.scale;
        double cap = (double)attrs->attention.softcap;
        if (cap > 0) dot = cap * tanh(dot / cap);
        bool visible = !attrs->attention.causal || j <= row;
        if (attrs->attention.window && abs(row - j) >= attrs->attention.window) visible = false;
        weights[j] = visible ? exp(dot) : 0;
        sum += weights[j];
    }
    for (int c = 0; c < mosa_attention_value_width(attrs); c++) {
        y[c] = 0;
        for (int j = 0; j < rows; j++) y[c] += weights[j] / sum * (double)v[j * v_stride + c];
    }
}

static void attention_is_softmax_over_what_a_row_sees(void **state) {
    (void)state;
    static float q[ROWS * Q], k[ROWS * KV], v[ROWS * KV], y[ROWS * Q];
    fill(q, ROWS * Q, 11);
    fill(k, ROWS * KV, 12);
    fill(v, ROWS * KV, 13);
    static const float sinks[HEADS] = {1.5f, -2, 0, 3, -40, 0.3f};
    const mosa_weight sinks_weight = {.vector = sinks};
    // Causal or not; a window, a cap; sinks; values narrower than keys, of their own or in them.
    for (int variant = 0; variant < 36; variant++) {
        mosa_graph *g = mosa_graph_create(NULL);
        int values = variant / 12, form = variant / 2 % 6;
        mosa_attrs attrs;
        memset(&attrs, 0, sizeof attrs);
        attrs.attention.heads = HEADS;
        attrs.attention.kv_heads = KV_HEADS;
        attrs.attention.head_width = WIDTH;
        attrs.attention.scale = 0.7f;
        attrs.attention.causal = variant % 2;
        attrs.attention.window = form % 3 == 1 ? 4 : 0;
        attrs.attention.softcap = form % 3 == 2 ? 0.8f : 0;
        attrs.attention.value_width = values ? VALUE : 0;
        attrs.attention.value_in_key = values == 2;
        int width = mosa_attention_value_width(&attrs), v_columns = KV_HEADS * width, y_columns = HEADS * width;
        mosa_value in[4] = {mosa_graph_input(g, "q", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, Q)),
                            mosa_graph_input(g, "k", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, KV))};
        const void *bound[4] = {q, k};
        int64_t stride[4] = {Q * 4, KV * 4};
        int n = 2;
        if (values < 2) {
            in[n] = mosa_graph_input(g, "v", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, v_columns));
            stride[n] = v_columns * 4;
            bound[n++] = v;
        }
        if (form >= 3) {
            in[n] = mosa_graph_weight(g, "s", MOSA_F32, MOSA_SHAPE1(HEADS));
            bound[n++] = &sinks_weight;
        }
        assert_int_not_equal(mosa_graph_apply(g, MOSA_OP_ATTENTION, in, n, &attrs), MOSA_NO_VALUE);
        mosa_segment segments[2] = {{0, 8, 0, 0, NULL}, {8, ROWS - 8, 0, 0, NULL}};
        mosa_batch batch = {ROWS, 2, segments};
        mosa_cpu_args args = {.graph = g,
                              .node = &g->nodes[0],
                              .rows = ROWS,
                              .batch = &batch,
                              .in = {bound[0], bound[1], bound[2], bound[3]},
                              .out = {y},
                              .in_stride = {stride[0], stride[1], stride[2], stride[3]},
                              .out_stride = {y_columns * 4}};
        mosa_ref_attention(&args, 0, 1);
        for (int t = 0; t < ROWS; t++)
            for (int h = 0; h < HEADS; h++) {
                const mosa_segment *s = &segments[t >= 8];
                int kv_head = h / (HEADS / KV_HEADS);
                const float *key = k + s->row_begin * KV + kv_head * WIDTH;
                const float *value = values == 2 ? key : v + s->row_begin * v_columns + kv_head * width;
                double expected[WIDTH];
                attend(&attrs, q + t * Q + h * WIDTH, key, value, values == 2 ? KV : v_columns,
                       form >= 3 ? &sinks[h] : NULL, s->row_count, t - s->row_begin, expected);
                for (int c = 0; c < width; c++) assert_float_equal(y[t * y_columns + h * width + c], expected[c], 1e-6);
            }
        mosa_graph_destroy(g);
    }
}

static void embed_decodes_rows_of_any_type(void **state) {
    (void)state;
    static const mosa_dtype dtypes[] = {MOSA_F32, MOSA_F16, MOSA_BF16, MOSA_Q8_0, MOSA_Q4_0, MOSA_Q4_K, MOSA_Q6_K};
    enum { D = 512, V = 5 };
    static float table[V * D], row[D], y[3 * D];
    fill(table, V * D, 21);
    for (size_t i = 0; i < MOSA_COUNT(dtypes); i++) {
        size_t bytes = 0;
        assert_true(mosa_dtype_bytes(dtypes[i], V * D, &bytes));
        unsigned char *file = malloc(bytes + 1);
        mosa_dtype_traits_of(dtypes[i])->from_f32(table, file + 1, V * D);
        mosa_graph *g = mosa_graph_create(NULL);
        mosa_value ids = mosa_graph_input(g, "ids", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
        mosa_g_embed(g, ids, mosa_graph_weight(g, "t", dtypes[i], MOSA_SHAPE2(V, D)));
        mosa_weight weight = {.view = {.dtype = dtypes[i], .n_dims = 2, .dims = {V, D}, .data = file + 1}};
        int32_t id[3] = {4, 0, 4};
        mosa_cpu_args args = {
            .graph = g, .node = &g->nodes[0], .rows = 3, .in = {id, &weight}, .out = {y}, .out_stride = {D * 4}};
        mosa_ref_embed(&args, 0, 1);
        for (int t = 0; t < 3; t++) {
            mosa_dtype_traits_of(dtypes[i])->to_f32(file + 1 + (size_t)id[t] * (bytes / V), row, D);
            assert_memory_equal(y + t * D, row, sizeof row);
        }
        free(file);
        mosa_graph_destroy(g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_within_one_ulp),
        cmocka_unit_test(tanh_is_within_two_ulp),
        cmocka_unit_test(erf_is_within_1_2e_7),
        cmocka_unit_test(activations_are_close_everywhere),
        cmocka_unit_test(a_clamped_swiglu_is_close_everywhere),
        cmocka_unit_test(norms_follow_their_formulas),
        cmocka_unit_test(rotation_turns_pairs_by_position_times_frequency),
        cmocka_unit_test(attention_is_softmax_over_what_a_row_sees),
        cmocka_unit_test(embed_decodes_rows_of_any_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
