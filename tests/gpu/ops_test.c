// Every op, and whole small models, on a device against the plain C kernels: errors, and that no way of cutting
// sequences into batches changes a bit.
//
//   ops_test [device] [part of a name]    device: "cuda" (default), "cuda:N", "cpu"
//
// Exits 77 when the device cannot be opened. Limits allow for matrices and attention that multiply bf16 or f16;
// LINEAR's own floats are exact in bf16, so that only sums are rounded.
#include "ops_case.h"
#include "ops_grads.h"
#include "ops_models.h"

#include "base/clock.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUTPUT(b, value) mosa_graph_output((b)->graph, value)

static void node(ops_build *b, mosa_op op, const mosa_value *in, int n_in, const mosa_attrs *attrs) {
    mosa_value first = mosa_graph_apply(b->graph, op, in, n_in, attrs);
    if (first == MOSA_NO_VALUE) return;
    const mosa_node *made = &b->graph->nodes[b->graph->n_nodes - 1];
    for (int i = 0; i < made->n_out; i++)
        if (b->graph->values[made->out[i]].kind != MOSA_VALUE_STATE) OUTPUT(b, made->out[i]);
}

// --- rows -----------------------------------------------------------------------------------------------------------

typedef struct row_config {
    mosa_op op;
    int64_t columns;
    mosa_attrs attrs;
    bool bias;
} row_config;

static void build_rows(ops_build *b, const void *config) {
    const row_config *c = config;
    mosa_value in[4] = {ops_rows(b, c->columns, 2)};
    int n_in = 1;
    int64_t group = c->attrs.norm.group ? c->attrs.norm.group : c->columns;
    bool two = c->op == MOSA_OP_ADD || c->op == MOSA_OP_MUL || c->op == MOSA_OP_GATED_ACT || c->op == MOSA_OP_JOIN ||
               c->op == MOSA_OP_ADD_RMS_NORM;
    bool norm = c->op == MOSA_OP_RMS_NORM || c->op == MOSA_OP_LAYER_NORM || c->op == MOSA_OP_ADD_RMS_NORM;
    if (two) in[n_in++] = ops_rows(b, c->columns, 2);
    if (norm) in[n_in++] = ops_weight_of(b, MOSA_F32, MOSA_SHAPE1(group), 0.3f, 1);
    if (c->bias) in[n_in++] = ops_weight_of(b, MOSA_F16, MOSA_SHAPE1(group), 0.3f, 0);
    node(b, c->op, in, n_in, &c->attrs);
}

static void build_gather(ops_build *b, const void *config) {
    (void)config;
    mosa_value x = ops_rows(b, 33, 1), index = ops_reversed(b);
    node(b, MOSA_OP_GATHER_ROWS, (mosa_value[]){x, index}, 2, &(mosa_attrs){.scale = {0}});
}

static void build_embed(ops_build *b, const void *config) {
    mosa_value ids = ops_ids(b, 50);
    OUTPUT(b, mosa_g_embed(b->graph, ids, ops_weight_of(b, *(const mosa_dtype *)config, MOSA_SHAPE2(50, 512), 1, 0)));
}

static mosa_value rotary_table(ops_build *b, int rot) {
    mosa_value frequencies = ops_weight_of(b, MOSA_F32, MOSA_SHAPE1(rot / 2), 0.5f, 0.5f);
    return mosa_g_rope_table(b->graph, ops_positions(b), frequencies, 1.25f);
}

static void build_rope_table(ops_build *b, const void *config) {
    (void)config;
    OUTPUT(b, rotary_table(b, 24));
}

static void build_rope(ops_build *b, const void *config) {
    const mosa_attrs *attrs = config;
    mosa_value x = ops_rows(b, 3 * attrs->rope.head_width, 1), table = rotary_table(b, attrs->rope.rot);
    node(b, MOSA_OP_ROPE, (mosa_value[]){x, table}, 2, attrs);
}

// --- matrices -------------------------------------------------------------------------------------------------------

typedef struct linear_config {
    mosa_dtype dtype;
    int64_t n, k;
    int experts; // 0: LINEAR; else a stack
    int top_k;   // 0: without index
    bool bias, own_inputs, inexact;
} linear_config;

static void build_linear(ops_build *b, const void *config) {
    const linear_config *c = config;
    b->exact = !c->inexact;
    mosa_value x = ops_rows(b, c->k, 1), bias = MOSA_NO_VALUE;
    mosa_value w = ops_weight_of(b, c->dtype, MOSA_SHAPE2(c->n, c->k), 1 / sqrtf((float)c->k), 0);
    if (c->bias) bias = ops_weight_of(b, MOSA_F32, MOSA_SHAPE1(c->n), 0.5f, 0);
    OUTPUT(b, mosa_g_linear(b->graph, x, w, bias));
}

static void build_shared_linear(ops_build *b, const void *config) { // three matrices read one input, behind a norm
    const linear_config *c = config;
    mosa_value x = ops_rows(b, c->k, 1);
    x = mosa_g_rms_norm(b->graph, x, ops_weight_of(b, MOSA_F32, MOSA_SHAPE1(c->k), 0.2f, 1), 1e-5f);
    for (int i = 0; i < 3; i++) {
        mosa_value w = ops_weight_of(b, c->dtype, MOSA_SHAPE2(c->n + 16 * i, c->k), 1 / sqrtf((float)c->k), 0);
        OUTPUT(b, mosa_g_linear(b->graph, x, w, MOSA_NO_VALUE));
    }
}

static void build_experts(ops_build *b, const void *config) {
    const linear_config *c = config;
    b->exact = true;
    int slots = c->top_k ? c->top_k : c->experts;
    mosa_value index = MOSA_NO_VALUE, bias = MOSA_NO_VALUE;
    if (c->top_k) {
        mosa_attrs attrs = {.moe_route = {.top_k = c->top_k, .scale = 1, .scoring = MOSA_SCORE_SIGMOID}};
        index = mosa_graph_apply(b->graph, MOSA_OP_MOE_ROUTE, (mosa_value[]){ops_rows(b, c->experts, 3)}, 1, &attrs);
    }
    mosa_value x = ops_rows(b, c->own_inputs ? slots * c->k : c->k, 1);
    mosa_value w = ops_weight_of(b, c->dtype, MOSA_SHAPE3(c->experts, c->n, c->k), 1 / sqrtf((float)c->k), 0);
    if (c->bias) bias = ops_weight_of(b, MOSA_F32, MOSA_SHAPE2(c->experts, c->n), 0.5f, 0);
    OUTPUT(b, mosa_g_expert_linear(b->graph, x, w, index, bias));
}

static void build_lora(ops_build *b, const void *config) {
    const linear_config *c = config;
    b->adapter_rank = 9;
    build_linear(b, c);
}

// --- attention ------------------------------------------------------------------------------------------------------

typedef struct attention_config {
    int heads, kv_heads, width, value_width, window;
    mosa_dtype kv; // MOSA_I8: packed, no pages
    float softcap;
    bool in_key, sinks, not_causal, rope;
} attention_config;

static mosa_attrs attention_attrs(const attention_config *c, int layer) {
    return (mosa_attrs){.attention = {.heads = c->heads,
                                      .kv_heads = c->kv_heads,
                                      .head_width = c->width,
                                      .value_width = c->value_width,
                                      .value_in_key = c->in_key,
                                      .layer = layer,
                                      .window = c->window,
                                      .scale = 2 / sqrtf((float)c->width),
                                      .softcap = c->softcap,
                                      .causal = !c->not_causal}};
}

static void build_attention(ops_build *b, const void *config) {
    const attention_config *c = config;
    int value_width = c->value_width ? c->value_width : c->width;
    mosa_attrs attrs = attention_attrs(c, 1);
    mosa_graph *g = b->graph;
    mosa_value q = ops_rows(b, (int64_t)c->heads * c->width, 1), k = ops_rows(b, (int64_t)c->kv_heads * c->width, 1);
    mosa_value v = c->in_key ? MOSA_NO_VALUE : ops_rows(b, (int64_t)c->kv_heads * value_width, 1);
    if (c->rope) {
        mosa_value table = rotary_table(b, c->width / 2);
        q = mosa_g_rope(g, q, table, c->width, MOSA_ROPE_HALF);
        k = mosa_g_rope(g, k, table, c->width, MOSA_ROPE_HALF);
    }
    mosa_value in[4] = {q};
    int n_in = 1;
    if (c->kv == MOSA_I8) {
        b->whole_sequences = true;
        in[n_in++] = k;
        if (!c->in_key) in[n_in++] = v;
    } else {
        mosa_kv_spec spec = {2, c->kv_heads, c->width, 0, 0, c->kv, c->value_width, c->in_key};
        in[n_in++] = mosa_g_kv_write(g, k, v, ops_state(b, &spec), &attrs);
    }
    if (c->sinks) in[n_in++] = ops_weight_of(b, MOSA_F32, MOSA_SHAPE1(c->heads), 2, 0);
    node(b, MOSA_OP_ATTENTION, in, n_in, &attrs);
}

// --- experts' routing -----------------------------------------------------------------------------------------------

typedef struct route_config {
    int experts;
    bool bias;
    mosa_attrs attrs;
} route_config;

static void build_route(ops_build *b, const void *config) {
    const route_config *c = config;
    mosa_value in[2] = {ops_rows(b, c->experts, 4)};
    if (c->bias) in[1] = ops_weight_of(b, MOSA_F32, MOSA_SHAPE1(c->experts), 0.5f, 0);
    node(b, MOSA_OP_MOE_ROUTE, in, c->bias ? 2 : 1, &c->attrs);
}

static void build_combine(ops_build *b, const void *config) {
    (void)config;
    mosa_value x = ops_rows(b, 4 * 70, 1);
    OUTPUT(b, mosa_g_moe_combine(b->graph, x, ops_rows(b, 4, 1)));
}

// --- the list -------------------------------------------------------------------------------------------------------

#define ROWS_CASE(name, op_, columns_, ...)                                                                            \
    { name, build_rows, &(row_config){op_, columns_, __VA_ARGS__}, 2e-5 }
#define NORM(eps_, group_)                                                                                             \
    {                                                                                                                  \
        .norm = { eps_, group_ }                                                                                       \
    }
#define TYPE(type)                                                                                                     \
    &(mosa_dtype) {                                                                                                    \
        type                                                                                                           \
    }
#define ROUTE(...)                                                                                                     \
    &(route_config) {                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }
#define LINEAR(...)                                                                                                    \
    &(linear_config) {                                                                                                 \
        __VA_ARGS__                                                                                                    \
    }
#define ATTENTION(...)                                                                                                 \
    &(attention_config) {                                                                                              \
        __VA_ARGS__                                                                                                    \
    }

static const ops_case row_cases[] = {
    ROWS_CASE("rms_norm 6", MOSA_OP_RMS_NORM, 6, NORM(1e-5f, 0)),
    ROWS_CASE("rms_norm 1000", MOSA_OP_RMS_NORM, 1000, NORM(1e-5f, 0)),
    ROWS_CASE("rms_norm 4096", MOSA_OP_RMS_NORM, 4096, NORM(1e-6f, 0)),
    ROWS_CASE("rms_norm 8192", MOSA_OP_RMS_NORM, 8192, NORM(1e-6f, 0)),
    ROWS_CASE("rms_norm heads of 128", MOSA_OP_RMS_NORM, 512, NORM(1e-5f, 128)),
    ROWS_CASE("rms_norm heads of 10", MOSA_OP_RMS_NORM, 40, NORM(1e-5f, 10)),
    ROWS_CASE("layer_norm 768", MOSA_OP_LAYER_NORM, 768, NORM(1e-12f, 0), true),
    ROWS_CASE("layer_norm 37", MOSA_OP_LAYER_NORM, 37, NORM(1e-5f, 0)),
    ROWS_CASE("l2_norm 96", MOSA_OP_L2_NORM, 96, NORM(1e-6f, 0)),
    ROWS_CASE("add_rms_norm 4096", MOSA_OP_ADD_RMS_NORM, 4096, NORM(1e-5f, 0)),
    ROWS_CASE("add_rms_norm 50", MOSA_OP_ADD_RMS_NORM, 50, NORM(1e-5f, 0)),
    ROWS_CASE("add", MOSA_OP_ADD, 37, {.scale = {0}}),
    ROWS_CASE("mul", MOSA_OP_MUL, 64, {.scale = {0}}),
    ROWS_CASE("scale", MOSA_OP_SCALE, 33, {.scale = {0.37f}}),
    ROWS_CASE("act silu", MOSA_OP_ACT, 65, {.act = {MOSA_ACT_SILU, 0}}),
    ROWS_CASE("act gelu", MOSA_OP_ACT, 64, {.act = {MOSA_ACT_GELU, 0}}),
    ROWS_CASE("act gelu_tanh", MOSA_OP_ACT, 64, {.act = {MOSA_ACT_GELU_TANH, 0}}),
    ROWS_CASE("act relu", MOSA_OP_ACT, 64, {.act = {MOSA_ACT_RELU, 0}}),
    ROWS_CASE("act sigmoid", MOSA_OP_ACT, 64, {.act = {MOSA_ACT_SIGMOID, 0}}),
    ROWS_CASE("act tanh", MOSA_OP_ACT, 64, {.act = {MOSA_ACT_TANH, 0}}),
    ROWS_CASE("gated_act silu", MOSA_OP_GATED_ACT, 100, {.act = {MOSA_ACT_SILU, 0}}),
    ROWS_CASE("gated_act clamped_swiglu", MOSA_OP_GATED_ACT, 99, {.act = {MOSA_ACT_CLAMPED_SWIGLU, 1.5f}}),
    ROWS_CASE("slice", MOSA_OP_SLICE, 60, {.slice = {7, 20, 0}}),
    ROWS_CASE("slice of groups", MOSA_OP_SLICE, 60, {.slice = {3, 5, 20}}),
    ROWS_CASE("join of groups", MOSA_OP_JOIN, 60, {.join = {4}}),
    {"gather_rows", build_gather, NULL, 1e-30},
    {"rope_table", build_rope_table, NULL, 1e-6},
    {"rope halves", build_rope, &(mosa_attrs){.rope = {16, 16, MOSA_ROPE_HALF}}, 1e-5},
    {"rope halves, part of the head", build_rope, &(mosa_attrs){.rope = {24, 10, MOSA_ROPE_HALF}}, 1e-5},
    {"rope neighbours", build_rope, &(mosa_attrs){.rope = {64, 64, MOSA_ROPE_INTERLEAVED}}, 1e-5},
    {"moe_route softmax", build_route, ROUTE(60, false, {.moe_route = {4, MOSA_SCORE_SOFTMAX, true, 1}}), 1e-5},
    {"moe_route softmax of chosen", build_route,
     ROUTE(32, true, {.moe_route = {4, MOSA_SCORE_SOFTMAX_CHOSEN, false, 1}}), 1e-5},
    {"moe_route sigmoid, groups", build_route,
     ROUTE(256, true, {.moe_route = {8, MOSA_SCORE_SIGMOID, true, 2.5f, 8, 4, 2}}), 1e-5},
    {"moe_combine", build_combine, NULL, 1e-5},
};

static const ops_case matrix_cases[] = {
    {"embed f32", build_embed, TYPE(MOSA_F32), 1e-30},
    {"embed f16", build_embed, TYPE(MOSA_F16), 1e-30},
    {"embed bf16", build_embed, TYPE(MOSA_BF16), 1e-30},
    {"embed q8_0", build_embed, TYPE(MOSA_Q8_0), 1e-30},
    {"embed q4_0", build_embed, TYPE(MOSA_Q4_0), 1e-30},
    {"embed q4_1", build_embed, TYPE(MOSA_Q4_1), 1e-30},
    {"embed q5_0", build_embed, TYPE(MOSA_Q5_0), 1e-30},
    {"embed q5_1", build_embed, TYPE(MOSA_Q5_1), 1e-30},
    {"embed q2_k", build_embed, TYPE(MOSA_Q2_K), 1e-30},
    {"embed q3_k", build_embed, TYPE(MOSA_Q3_K), 1e-30},
    {"embed q4_k", build_embed, TYPE(MOSA_Q4_K), 1e-30},
    {"embed q5_k", build_embed, TYPE(MOSA_Q5_K), 1e-30},
    {"embed q6_k", build_embed, TYPE(MOSA_Q6_K), 1e-30},
    {"embed iq4_nl", build_embed, TYPE(MOSA_IQ4_NL), 1e-30},
    {"embed iq4_xs", build_embed, TYPE(MOSA_IQ4_XS), 1e-30},
    {"embed mxfp4", build_embed, TYPE(MOSA_MXFP4), 1e-30},
    {"linear f32 100x256", build_linear, LINEAR(MOSA_F32, 100, 256), 1e-4},
    {"linear f32 100x256, any floats", build_linear, LINEAR(MOSA_F32, 100, 256, .inexact = true), 3e-2},
    {"linear bf16 256x1024 bias", build_linear, LINEAR(MOSA_BF16, 256, 1024, .bias = true), 1e-4},
    {"linear bf16 1x4096", build_linear, LINEAR(MOSA_BF16, 1, 4096), 1e-4},
    {"linear bf16 300x40", build_linear, LINEAR(MOSA_BF16, 300, 40), 1e-4},
    {"linear bf16 7x17", build_linear, LINEAR(MOSA_BF16, 7, 17), 1e-4},
    {"linear f16 128x512", build_linear, LINEAR(MOSA_F16, 128, 512), 1e-4},
    {"linear q8_0 160x512", build_linear, LINEAR(MOSA_Q8_0, 160, 512), 2e-2},
    {"linear q8_0 33x96", build_linear, LINEAR(MOSA_Q8_0, 33, 96, .bias = true), 2e-2},
    {"linear q4_0 128x512", build_linear, LINEAR(MOSA_Q4_0, 128, 512), 2e-2},
    {"linear q4_k 96x512", build_linear, LINEAR(MOSA_Q4_K, 96, 512), 2e-2},
    {"linear q5_k 96x512", build_linear, LINEAR(MOSA_Q5_K, 96, 512), 2e-2},
    {"linear q6_k 96x512", build_linear, LINEAR(MOSA_Q6_K, 96, 512), 2e-2},
    {"linear q2_k 40x256", build_linear, LINEAR(MOSA_Q2_K, 40, 256), 2e-2},
    {"linear q3_k 40x256", build_linear, LINEAR(MOSA_Q3_K, 40, 256), 2e-2},
    {"linear iq4_nl 40x256", build_linear, LINEAR(MOSA_IQ4_NL, 40, 256), 2e-2},
    {"linear iq4_xs 40x256", build_linear, LINEAR(MOSA_IQ4_XS, 40, 256), 2e-2},
    {"linear mxfp4 40x256", build_linear, LINEAR(MOSA_MXFP4, 40, 256), 2e-2},
    {"norm, three linears bf16", build_shared_linear, LINEAR(MOSA_BF16, 64, 260), 3e-2},
    {"norm, three linears q8_0", build_shared_linear, LINEAR(MOSA_Q8_0, 64, 256), 3e-2},
    {"expert_linear bf16, chosen", build_experts, LINEAR(MOSA_BF16, 48, 64, 12, 3, .bias = true), 1e-4},
    {"expert_linear bf16, own inputs", build_experts, LINEAR(MOSA_BF16, 48, 68, 12, 3, .own_inputs = true), 1e-4},
    {"expert_linear f32, all", build_experts, LINEAR(MOSA_F32, 24, 20, 5, 0, .own_inputs = true), 1e-4},
    {"expert_linear q8_0, chosen", build_experts, LINEAR(MOSA_Q8_0, 40, 64, 8, 2), 2e-2},
    {"expert_linear q4_k, own inputs", build_experts, LINEAR(MOSA_Q4_K, 40, 256, 8, 2, .own_inputs = true), 2e-2},
    {"expert_linear mxfp4, chosen", build_experts, LINEAR(MOSA_MXFP4, 32, 64, 8, 4, .bias = true), 3e-2},
    {"lora on f32", build_lora, LINEAR(MOSA_F32, 100, 130), 2e-4},
    {"lora on q8_0", build_lora, LINEAR(MOSA_Q8_0, 64, 128, .bias = true), 2e-2},
};

static const ops_case attention_cases[] = {
    {"attention f32 pages", build_attention, ATTENTION(4, 4, 32, .kv = MOSA_F32), 2e-2},
    {"attention f16 pages, grouped", build_attention, ATTENTION(8, 2, 64, .kv = MOSA_F16), 2e-2},
    {"attention bf16 pages, grouped", build_attention, ATTENTION(8, 1, 128, .kv = MOSA_BF16), 4e-2},
    {"attention f16, 128 wide, roped", build_attention, ATTENTION(8, 2, 128, .kv = MOSA_F16, .rope = true), 2e-2},
    {"attention f16, window 40", build_attention, ATTENTION(4, 2, 64, .kv = MOSA_F16, .window = 40), 2e-2},
    {"attention f16, softcap", build_attention, ATTENTION(4, 2, 64, .kv = MOSA_F16, .softcap = 1.5f), 2e-2},
    {"attention f16, sinks, window", build_attention, ATTENTION(4, 2, 64, .kv = MOSA_F16, .window = 16, .sinks = true),
     2e-2},
    {"attention f16, 256 wide", build_attention, ATTENTION(2, 1, 256, .kv = MOSA_F16), 2e-2},
    {"attention f16, odd width", build_attention, ATTENTION(3, 3, 20, .kv = MOSA_F16), 2e-2},
    {"attention f16, narrow values", build_attention, ATTENTION(4, 2, 48, 24, .kv = MOSA_F16), 2e-2},
    {"attention f16, values in keys", build_attention, ATTENTION(4, 1, 72, 64, .kv = MOSA_F16, .in_key = true), 2e-2},
    {"attention f16, 576/512 in keys", build_attention, ATTENTION(4, 1, 576, 512, .kv = MOSA_F16, .in_key = true),
     2e-2},
    {"attention packed, causal", build_attention, ATTENTION(4, 2, 64, .kv = MOSA_I8), 4e-2},
    {"attention packed, both ways", build_attention, ATTENTION(4, 4, 32, .kv = MOSA_I8, .not_causal = true), 2e-2},
    {"attention packed, window both ways", build_attention,
     ATTENTION(4, 4, 32, .kv = MOSA_I8, .window = 20, .not_causal = true), 2e-2},
};

static void check_all(const ops_case *cases, size_t n, const char *part, mosa_backend *device, mosa_backend *reference,
                      ops_totals *totals) {
    for (size_t i = 0; i < n; i++)
        if (!part || strstr(cases[i].name, part)) ops_check(device, reference, &cases[i], totals);
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "cuda", *part = argc > 2 ? argv[2] : NULL;
    mosa_backend *device = NULL, *reference = NULL;
    mosa_error err = {0};
    if (mosa_backend_open(&(mosa_backend_options){name, 0}, &device, &err) != MOSA_OK) {
        printf("skip: %s (%s)\n", err.message, err.hint);
        return 77;
    }
    if (mosa_backend_open(&(mosa_backend_options){"cpu:ref", 0}, &reference, &err) != MOSA_OK) abort();
    printf("%s\n", device->ops->describe(device));
    ops_totals totals = {0};
    uint64_t begin = mosa_clock_ns();
    check_all(row_cases, MOSA_COUNT(row_cases), part, device, reference, &totals);
    check_all(matrix_cases, MOSA_COUNT(matrix_cases), part, device, reference, &totals);
    check_all(attention_cases, MOSA_COUNT(attention_cases), part, device, reference, &totals);
    check_all(ops_grad_cases, (size_t)ops_n_grad_cases, part, device, reference, &totals);
    check_all(ops_model_cases, (size_t)ops_n_model_cases, part, device, reference, &totals);
    printf("%d passed, %d failed, %d skipped in %.1f s\n", totals.passed, totals.failed, totals.skipped,
           (double)(mosa_clock_ns() - begin) / 1e9);
    reference->ops->destroy(reference);
    device->ops->destroy(device);
    return totals.failed ? 1 : 0;
}
