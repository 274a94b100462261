// The builder and the shape rules: what is refused, and that the message names op, operand and shapes.
#include "graph/graph.h"
#include "graph/op.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

// Sources that the cases draw from.
typedef struct sources {
    mosa_graph *g;
    mosa_value ids, positions, x64, y64, x32, fixed; // i32 [T], i32 [T], f32 [T,64], [T,64], [T,32], [8,64]
    mosa_value w64, w32, matrix, table, freq, state; // [64], [32], [48,64], [100,64], [8], state
} sources;

static sources make_sources(void) {
    mosa_graph *g = mosa_graph_create(NULL);
    sources s = {.g = g};
    s.ids = mosa_graph_input(g, "ids", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
    s.positions = mosa_graph_input(g, "positions", MOSA_I32, MOSA_SHAPE1(MOSA_ROWS));
    s.x64 = mosa_graph_input(g, "x64", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, 64));
    s.y64 = mosa_graph_input(g, "y64", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, 64));
    s.x32 = mosa_graph_input(g, "x32", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, 32));
    s.fixed = mosa_graph_input(g, "fixed", MOSA_F32, MOSA_SHAPE2(8, 64));
    s.w64 = mosa_graph_weight(g, "w64", MOSA_F16, MOSA_SHAPE1(64));
    s.w32 = mosa_graph_weight(g, "w32", MOSA_F32, MOSA_SHAPE1(32));
    s.matrix = mosa_graph_weight(g, "matrix", MOSA_Q8_0, MOSA_SHAPE2(48, 64));
    s.table = mosa_graph_weight(g, "table", MOSA_Q8_0, MOSA_SHAPE2(100, 64));
    s.freq = mosa_graph_weight(g, "freq", MOSA_F32, MOSA_SHAPE1(8));
    s.state = mosa_graph_state(g, "kv");
    assert_int_equal(mosa_graph_status(g, NULL), MOSA_OK);
    return s;
}

static void assert_shape(const mosa_graph *g, mosa_value v, int64_t rows, int64_t columns) {
    mosa_error err = {0};
    if (mosa_graph_status(g, &err) != MOSA_OK) fail_msg("%s", err.message);
    const mosa_value_info *value = mosa_graph_value(g, v);
    assert_int_equal(value->shape.ndim, 2);
    assert_int_equal(value->shape.dim[0], rows);
    assert_int_equal(value->shape.dim[1], columns);
}

static mosa_attrs attention_attrs(int heads, int kv_heads, int width) {
    mosa_attrs attrs;
    memset(&attrs, 0, sizeof attrs);
    attrs.attention.heads = heads;
    attrs.attention.kv_heads = kv_heads;
    attrs.attention.head_width = width;
    attrs.attention.scale = 1;
    attrs.attention.causal = true;
    return attrs;
}

static void every_op_infers_its_shape(void **state) {
    (void)state;
    sources s = make_sources();
    mosa_graph *g = s.g;
    assert_shape(g, mosa_g_embed(g, s.ids, s.table), MOSA_ROWS, 64);
    assert_shape(g, mosa_graph_apply(g, MOSA_OP_GATHER_ROWS, (mosa_value[]){s.fixed, s.ids}, 2, NULL), MOSA_ROWS, 64);
    assert_shape(g, mosa_g_linear(g, s.x64, s.matrix, MOSA_NO_VALUE), MOSA_ROWS, 48);
    assert_shape(g, mosa_g_linear(g, s.fixed, s.matrix, MOSA_NO_VALUE), 8, 48);
    assert_shape(g, mosa_g_rms_norm(g, s.x64, s.w64, 1e-5f), MOSA_ROWS, 64);
    assert_shape(g, mosa_g_head_rms_norm(g, s.x64, s.w32, 1e-5f), MOSA_ROWS, 64);
    assert_shape(g, mosa_g_add(g, s.x64, s.y64), MOSA_ROWS, 64);
    assert_shape(g, mosa_g_act(g, s.x32, MOSA_ACT_GELU), MOSA_ROWS, 32);
    mosa_attrs slice = {.slice = {16, 40}};
    assert_shape(g, mosa_graph_apply(g, MOSA_OP_SLICE, &s.x64, 1, &slice), MOSA_ROWS, 40);
    assert_shape(g, mosa_g_slice(g, s.x64, 3, 5, 16), MOSA_ROWS, 20);
    assert_shape(g, mosa_g_join(g, s.x64, s.x32, 4), MOSA_ROWS, 96);
    assert_shape(g, mosa_g_clamped_swiglu(g, s.x64, s.y64, 7), MOSA_ROWS, 64);
    mosa_attrs lora = {.lora = {.target = 0, .rank = 24}};
    mosa_value adapted = mosa_graph_apply(g, MOSA_OP_LORA, (mosa_value[]){s.x64, s.x32, s.state}, 3, &lora);
    assert_shape(g, adapted, MOSA_ROWS, 64);
    assert_shape(g, mosa_graph_node_output(g, adapted, 1), MOSA_ROWS, 24);
    mosa_value rope = mosa_g_rope_table(g, s.positions, s.freq, 1);
    assert_shape(g, rope, MOSA_ROWS, 16);
    assert_shape(g, mosa_g_rope(g, s.x64, rope, 32, MOSA_ROPE_HALF), MOSA_ROWS, 64);
    mosa_attrs a = attention_attrs(4, 2, 16);
    mosa_value next = mosa_g_kv_write(g, s.x32, s.x32, s.state, &a);
    assert_int_equal(mosa_graph_value(g, next)->kind, MOSA_VALUE_STATE);
    assert_int_equal(mosa_graph_value(g, next)->slot, mosa_graph_value(g, s.state)->slot);
    assert_shape(g, mosa_g_attention_kv(g, s.x64, next, &a), MOSA_ROWS, 64);
    assert_shape(g, mosa_g_attention(g, s.x64, s.x32, s.x32, &a), MOSA_ROWS, 64);
    assert_shape(g, mosa_g_attention_kv_sinks(g, s.x64, next, mosa_graph_weight(g, "s", MOSA_F32, MOSA_SHAPE1(4)), &a),
                 MOSA_ROWS, 64);
    a.attention.value_width = 32;
    assert_shape(g, mosa_g_attention(g, s.x64, s.x32, s.y64, &a), MOSA_ROWS, 128);
    mosa_value other = mosa_g_kv_write(g, s.x32, s.y64, next, &a);
    assert_shape(g, mosa_g_attention_kv(g, s.x64, other, &a), MOSA_ROWS, 128);
    a.attention.value_width = 12;
    a.attention.value_in_key = true;
    assert_shape(g, mosa_g_attention(g, s.x64, s.x32, MOSA_NO_VALUE, &a), MOSA_ROWS, 48);
    other = mosa_g_kv_write(g, s.x32, MOSA_NO_VALUE, other, &a);
    assert_shape(g, mosa_g_attention_kv(g, s.x64, other, &a), MOSA_ROWS, 48);
    mosa_graph_destroy(g);
}

typedef struct bad_case {
    const char *what;
    void (*build)(sources *s);
    const char *message[4]; // parts of it
} bad_case;

static void bad_arity(sources *s) {
    mosa_graph_apply(s->g, MOSA_OP_ADD, &s->x64, 1, NULL);
}
static void bad_no_value(sources *s) {
    mosa_g_add(s->g, s->x64, MOSA_NO_VALUE);
}
static void bad_far_value(sources *s) {
    mosa_g_add(s->g, s->x64, 9999);
}
static void bad_op(sources *s) {
    mosa_graph_apply(s->g, (mosa_op)777, &s->x64, 1, NULL);
}
static void bad_embed_ids(sources *s) {
    mosa_g_embed(s->g, s->x64, s->table);
}
static void bad_embed_table(sources *s) {
    mosa_g_embed(s->g, s->ids, s->w64);
}
static void bad_gather(sources *s) {
    mosa_graph_apply(s->g, MOSA_OP_GATHER_ROWS, (mosa_value[]){s->x64, s->x64}, 2, NULL);
}
static void bad_linear_width(sources *s) {
    mosa_g_linear(s->g, s->x32, s->matrix, MOSA_NO_VALUE);
}
static void bad_linear_weight(sources *s) {
    mosa_g_linear(s->g, s->x64, s->y64, MOSA_NO_VALUE);
}
static void bad_linear_bias(sources *s) {
    mosa_g_linear(s->g, s->x64, s->matrix, s->w64);
}
static void bad_linear_input(sources *s) {
    mosa_g_linear(s->g, s->ids, s->matrix, MOSA_NO_VALUE);
}
static void bad_norm(sources *s) {
    mosa_g_rms_norm(s->g, s->x64, s->w32, 1e-5f);
}
static void bad_norm_group(sources *s) {
    mosa_g_head_rms_norm(s->g, s->x32, s->w64, 1e-5f);
}
static void bad_norm_eps(sources *s) {
    mosa_g_rms_norm(s->g, s->x64, s->w64, -1);
}
static void bad_add(sources *s) {
    mosa_g_add(s->g, s->x64, s->x32);
}
static void bad_add_rows(sources *s) {
    mosa_g_add(s->g, s->x64, s->fixed);
}
static void bad_add_weight(sources *s) {
    mosa_g_add(s->g, s->x64, s->table);
}
static void bad_act(sources *s) {
    mosa_g_act(s->g, s->x64, (mosa_act)9);
}
static void bad_slice(sources *s) {
    mosa_attrs attrs = {.slice = {60, 5}};
    mosa_graph_apply(s->g, MOSA_OP_SLICE, &s->x64, 1, &attrs);
}
static void bad_slice_overflow(sources *s) {
    mosa_attrs attrs = {.slice = {1, INT64_MAX}};
    mosa_graph_apply(s->g, MOSA_OP_SLICE, &s->x64, 1, &attrs);
}
static void bad_slice_groups(sources *s) {
    mosa_g_slice(s->g, s->x64, 0, 4, 24);
}
static void bad_slice_group_end(sources *s) {
    mosa_g_slice(s->g, s->x64, 12, 8, 16);
}
static void bad_join(sources *s) {
    mosa_g_join(s->g, s->x64, s->x32, 64);
}
static void bad_swiglu(sources *s) {
    mosa_g_clamped_swiglu(s->g, s->x64, s->y64, 0);
}
static void bad_swiglu_alone(sources *s) {
    mosa_g_act(s->g, s->x64, MOSA_ACT_CLAMPED_SWIGLU);
}

// Routes x64 as logits of 64 experts and multiplies x32 by a stack of them.
static void expert(sources *s, mosa_attrs attrs, mosa_shape shape, bool routed) {
    mosa_value index = routed ? mosa_graph_apply(s->g, MOSA_OP_MOE_ROUTE, &s->x64, 1, &attrs) : s->ids;
    mosa_value w = mosa_graph_weight(s->g, "experts", MOSA_F32, shape);
    mosa_g_expert_linear(s->g, s->x32, w, index, MOSA_NO_VALUE);
}
static void bad_route_k(sources *s) {
    expert(s, (mosa_attrs){.moe_route = {.top_k = 65}}, MOSA_SHAPE3(64, 8, 32), true);
}
static void bad_route_groups(sources *s) {
    expert(s, (mosa_attrs){.moe_route = {.top_k = 4, .groups = 5, .top_groups = 2, .group_best = 1}},
           MOSA_SHAPE3(64, 8, 32), true);
}
static void bad_route_few_groups(sources *s) {
    expert(s, (mosa_attrs){.moe_route = {.top_k = 9, .groups = 8, .top_groups = 1, .group_best = 1}},
           MOSA_SHAPE3(64, 8, 32), true);
}
static void bad_route_scoring(sources *s) {
    expert(s, (mosa_attrs){.moe_route = {.top_k = 4, .scoring = (mosa_scoring)7}}, MOSA_SHAPE3(64, 8, 32), true);
}
static void bad_expert_count(sources *s) {
    expert(s, (mosa_attrs){.moe_route = {.top_k = 4}}, MOSA_SHAPE3(63, 8, 32), true);
}
static void bad_expert_width(sources *s) {
    expert(s, (mosa_attrs){.moe_route = {.top_k = 4}}, MOSA_SHAPE3(64, 8, 16), true);
}
static void bad_expert_index(sources *s) {
    expert(s, (mosa_attrs){0}, MOSA_SHAPE3(64, 8, 32), false);
}
static void bad_combine(sources *s) {
    mosa_g_moe_combine(s->g, s->x32, s->x64);
}
static void bad_table(sources *s) {
    mosa_attrs attrs = {.rope_table = {15, 1}};
    mosa_graph_apply(s->g, MOSA_OP_ROPE_TABLE, (mosa_value[]){s->positions, s->freq}, 2, &attrs);
}
static void bad_rope_heads(sources *s) {
    mosa_g_rope(s->g, s->x64, s->x32, 48, MOSA_ROPE_HALF);
}
static void bad_rope_wide(sources *s) {
    mosa_g_rope(s->g, s->x64, s->x32, 16, MOSA_ROPE_HALF);
}
static void bad_rope_style(sources *s) {
    mosa_g_rope(s->g, s->x64, s->x32, 32, (mosa_rope_style)5);
}
static void bad_heads(sources *s) {
    mosa_attrs a = attention_attrs(3, 3, 16);
    mosa_g_attention(s->g, s->x64, s->x64, s->x64, &a);
}
static void bad_group(sources *s) {
    mosa_attrs a = attention_attrs(4, 3, 16);
    mosa_g_attention(s->g, s->x64, s->x64, s->x64, &a);
}
static void bad_head_width(sources *s) {
    mosa_attrs a = attention_attrs(1, 1, 1 << 20);
    mosa_g_attention(s->g, s->x64, s->x64, s->x64, &a);
}
static void bad_window(sources *s) {
    mosa_attrs a = attention_attrs(4, 2, 16);
    a.attention.window = -1;
    mosa_g_attention_kv(s->g, s->x64, s->state, &a);
}
static void bad_causal(sources *s) {
    mosa_attrs a = attention_attrs(4, 2, 16);
    a.attention.causal = false;
    mosa_g_attention_kv(s->g, s->x64, s->state, &a);
}
static void bad_state(sources *s) {
    mosa_attrs a = attention_attrs(4, 2, 16);
    mosa_g_attention_kv(s->g, s->x64, s->y64, &a);
}
static void bad_fixed_rows(sources *s) {
    mosa_attrs a = attention_attrs(4, 4, 16);
    mosa_g_attention(s->g, s->fixed, s->fixed, s->fixed, &a);
}
static void bad_old_state(sources *s) {
    mosa_attrs a = attention_attrs(4, 2, 16);
    mosa_g_kv_write(s->g, s->x32, s->x32, s->state, &a);
    mosa_g_attention_kv(s->g, s->x64, s->state, &a);
}
static void bad_values(sources *s) {
    mosa_attrs a = attention_attrs(4, 2, 16);
    a.attention.value_width = 24;
    mosa_g_attention(s->g, s->x64, s->x32, s->x32, &a);
}
static void bad_values_in_key(sources *s) {
    mosa_attrs a = attention_attrs(4, 2, 16);
    a.attention.value_width = 24;
    a.attention.value_in_key = true;
    mosa_g_attention_kv(s->g, s->x64, s->state, &a);
}
static void bad_write_twice(sources *s) {
    mosa_attrs a = attention_attrs(4, 2, 16);
    a.attention.value_in_key = true;
    mosa_graph_apply(s->g, MOSA_OP_KV_WRITE, (mosa_value[]){s->x32, s->x32, s->state}, 3, &a);
}
static void bad_write_no_values(sources *s) {
    mosa_attrs a = attention_attrs(4, 2, 16);
    mosa_graph_apply(s->g, MOSA_OP_KV_WRITE, (mosa_value[]){s->x32, s->state}, 2, &a);
}
static void bad_sinks(sources *s) {
    mosa_attrs a = attention_attrs(4, 2, 16);
    mosa_g_attention_kv_sinks(s->g, s->x64, s->state, s->w32, &a);
}
static void bad_extra(sources *s) {
    mosa_attrs a = attention_attrs(4, 2, 16);
    mosa_value sinks = mosa_graph_weight(s->g, "s", MOSA_F32, MOSA_SHAPE1(4));
    mosa_graph_apply(s->g, MOSA_OP_ATTENTION, (mosa_value[]){s->x64, s->state, sinks, s->w32}, 4, &a);
}
static void lora(sources *s, mosa_value y, mosa_value x, mosa_value state, int rank) {
    mosa_attrs attrs = {.lora = {.target = 0, .rank = rank}};
    mosa_graph_apply(s->g, MOSA_OP_LORA, (mosa_value[]){y, x, state}, 3, &attrs);
}
static void bad_lora_rank(sources *s) {
    lora(s, s->x64, s->x32, s->state, 0);
}
static void bad_lora_rows(sources *s) {
    lora(s, s->fixed, s->fixed, s->state, 4);
}
static void bad_lora_other_rows(sources *s) {
    lora(s, s->x64, s->fixed, s->state, 4);
}
static void bad_lora_state(sources *s) {
    lora(s, s->x64, s->x32, s->x32, 4);
}
static void bad_quantize(sources *s) {
    mosa_attrs attrs = {.quantize = {0, 0}};
    mosa_graph_apply(s->g, MOSA_OP_QUANTIZE_ROWS, &s->x64, 1, &attrs);
}
static void bad_output(sources *s) {
    mosa_graph_output(s->g, s->w64);
}
static void bad_output_state(sources *s) {
    mosa_graph_output(s->g, s->state);
}
static void bad_weight_rows(sources *s) {
    mosa_graph_weight(s->g, "w", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, 3));
}
static void bad_shape(sources *s) {
    mosa_graph_input(s->g, "in", MOSA_F32, MOSA_SHAPE2(MOSA_ROWS, 0));
}
static void bad_inner_rows(sources *s) {
    mosa_graph_input(s->g, "in", MOSA_F32, MOSA_SHAPE2(3, MOSA_ROWS));
}

static const bad_case bad_cases[] = {
    {"arity", bad_arity, {"add", "takes 2 to 2 operands, not 1"}},
    {"missing operand", bad_no_value, {"add", "operand 1"}},
    {"unknown value", bad_far_value, {"add", "operand 1"}},
    {"unknown op", bad_op, {"777"}},
    {"embed of f32 ids", bad_embed_ids, {"embed", "operand 0 (ids) 'x64' f32 [T,64]", "i32"}},
    {"embed of a vector", bad_embed_table, {"embed", "operand 1 (table) 'w64' f16 [64]"}},
    {"gather by f32", bad_gather, {"gather_rows", "operand 1 (index)"}},
    {"linear width", bad_linear_width, {"linear", "'matrix' q8_0 [48,64]", "'x32' f32 [T,32]"}},
    {"linear by an activation", bad_linear_weight, {"linear", "operand 1 (w) 'y64'"}},
    {"linear bias", bad_linear_bias, {"linear", "operand 2 (bias) 'w64' f16 [64]", "[48]"}},
    {"linear of ids", bad_linear_input, {"linear", "operand 0 (x) 'ids' i32 [T]"}},
    {"adapter without rank", bad_lora_rank, {"lora", "no rank"}},
    {"adapter of other rows", bad_lora_rows, {"lora", "'fixed'", "batch's rows"}},
    {"adapter of two kinds of rows", bad_lora_other_rows, {"lora", "'fixed' f32 [8,64]", "'x64' f32 [T,64]"}},
    {"adapter without a state", bad_lora_state, {"lora", "operand 2 (adapters)", "state"}},
    {"norm width", bad_norm, {"rms_norm", "'w32' f32 [32]", "[64]"}},
    {"norm group", bad_norm_group, {"rms_norm", "'x32'", "groups of 64"}},
    {"norm eps", bad_norm_eps, {"rms_norm", "eps"}},
    {"add of widths", bad_add, {"add", "'x32' f32 [T,32]", "'x64' f32 [T,64]"}},
    {"add of rows", bad_add_rows, {"add", "'fixed' f32 [8,64]", "'x64' f32 [T,64]"}},
    {"add of a weight", bad_add_weight, {"add", "'table' q8_0 [100,64]"}},
    {"activation", bad_act, {"act", "activation 9"}},
    {"slice", bad_slice, {"slice", "'x64' f32 [T,64]", "60"}},
    {"slice overflow", bad_slice_overflow, {"slice"}},
    {"slice groups", bad_slice_groups, {"slice", "groups of 24 columns"}},
    {"slice beyond a group", bad_slice_group_end, {"slice", "[12, 12 + 8)"}},
    {"join groups", bad_join, {"join", "'x32' f32 [T,32]", "groups"}},
    {"swiglu clamped at nothing", bad_swiglu, {"gated_act", "clamped at 0"}},
    {"swiglu of one operand", bad_swiglu_alone, {"act", "unknown activation"}},
    {"more experts than there are", bad_route_k, {"moe_route", "'x64' f32 [T,64]", "65 experts"}},
    {"uneven groups", bad_route_groups, {"moe_route", "5 groups"}},
    {"too few groups", bad_route_few_groups, {"moe_route", "8 groups"}},
    {"scoring", bad_route_scoring, {"moe_route", "scoring 7"}},
    {"experts of another routing", bad_expert_count, {"expert_linear", "operand 2 (index)", "63 experts"}},
    {"width of experts", bad_expert_width, {"expert_linear", "'x32' f32 [T,32]", "'experts' f32 [64,8,16]"}},
    {"unchecked index", bad_expert_index, {"expert_linear", "operand 2 (index) 'ids' i32 [T]"}},
    {"combined slots", bad_combine, {"moe_combine", "'x32' f32 [T,32]", "'x64' f32 [T,64]"}},
    {"odd rope table", bad_table, {"rope_table", "15"}},
    {"rope heads", bad_rope_heads, {"rope", "heads of 48"}},
    {"rope wider than a head", bad_rope_wide, {"rope", "32 columns of heads of 16"}},
    {"rope style", bad_rope_style, {"rope", "style 5"}},
    {"attention heads", bad_heads, {"attention", "'x64' f32 [T,64]", "3 heads of 16"}},
    {"attention groups", bad_group, {"attention", "4 heads for 3"}},
    {"attention head width", bad_head_width, {"attention", "1048576"}},
    {"attention window", bad_window, {"attention", "window"}},
    {"attention over pages without causality", bad_causal, {"attention", "causal"}},
    {"attention over no state", bad_state, {"attention", "'y64'", "state"}},
    {"attention over fixed rows", bad_fixed_rows, {"attention", "'fixed'", "rows"}},
    {"value width", bad_values, {"attention", "'x32' f32 [T,32]", "2 heads of 24"}},
    {"values wider than their keys", bad_values_in_key, {"attention", "24 columns in keys of 16"}},
    {"values beside keys that hold them", bad_write_twice, {"kv_write", "holds the values already"}},
    {"write without values", bad_write_no_values, {"kv_write", "has no values"}},
    {"a sink per head", bad_sinks, {"attention", "'w32' f32 [32]", "[4]"}},
    {"an operand behind the sinks", bad_extra, {"attention", "'w32'", "too many"}},
    {"old state", bad_old_state, {"attention", "later version"}},
    {"quantize without a layout", bad_quantize, {"quantize_rows", "layout"}},
    {"output of a weight", bad_output, {"output 0", "weight"}},
    {"output of a state", bad_output_state, {"output 0", "state"}},
    {"weight with token rows", bad_weight_rows, {"'w'", "rows"}},
    {"empty dimension", bad_shape, {"'in'", "shape"}},
    {"rows inside", bad_inner_rows, {"'in'", "shape"}},
};

static void misuse_gives_one_clear_error(void **state) {
    (void)state;
    for (size_t i = 0; i < MOSA_COUNT(bad_cases); i++) {
        const bad_case *c = &bad_cases[i];
        sources s = make_sources();
        c->build(&s);
        mosa_error err = {0};
        if (mosa_graph_status(s.g, &err) != MOSA_EINVALID) fail_msg("%s was accepted", c->what);
        for (int m = 0; m < 4 && c->message[m]; m++)
            if (!strstr(err.message, c->message[m]))
                fail_msg("%s: '%s' lacks '%s'", c->what, err.message, c->message[m]);
        mosa_graph_destroy(s.g);
    }
}

static void the_first_fault_sticks_and_later_calls_do_nothing(void **state) {
    (void)state;
    sources s = make_sources();
    bad_add(&s);
    mosa_error first = {0}, later = {0};
    (void)mosa_graph_status(s.g, &first);
    int nodes = s.g->n_nodes;
    assert_int_equal(mosa_g_add(s.g, s.x64, s.y64), MOSA_NO_VALUE);
    assert_int_equal(mosa_graph_input(s.g, "z", MOSA_F32, MOSA_SHAPE1(3)), MOSA_NO_VALUE);
    mosa_graph_output(s.g, s.x64);
    bad_op(&s);
    (void)mosa_graph_status(s.g, &later);
    assert_string_equal(first.message, later.message);
    assert_int_equal(s.g->n_nodes, nodes);
    assert_int_equal(s.g->n_outputs, 0);
    mosa_graph_destroy(s.g);
}

static void every_op_of_the_table_is_complete(void **state) {
    (void)state;
    for (int op = 0; op < MOSA_OP_COUNT; op++) {
        const mosa_op_info *info = mosa_op_get((mosa_op)op);
        assert_non_null(info);
        assert_non_null(info->name);
        assert_non_null(info->infer);
        assert_non_null(info->cost);
        assert_in_range(info->n_out, 1, MOSA_NODE_OUTPUTS_MAX);
        assert_in_range(info->n_in_max, info->n_in_min, MOSA_NODE_INPUTS_MAX);
        for (int i = 0; i < info->n_in_max; i++) assert_non_null(info->operands[i]);
        for (int other = 0; other < op; other++) assert_string_not_equal(info->name, mosa_op_get((mosa_op)other)->name);
    }
}

static void a_graph_prints_one_line_per_node(void **state) {
    (void)state;
    sources s = make_sources();
    mosa_value n = mosa_g_rms_norm(s.g, s.x64, s.w64, 1e-5f);
    mosa_graph_output(s.g, mosa_g_linear(s.g, n, s.matrix, MOSA_NO_VALUE));
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    mosa_graph_print(s.g, file);
    fclose(file);
    assert_non_null(strstr(text, "f32 [T,64] = rms_norm(x64, w64) eps=1e-05\n"));
    assert_non_null(strstr(text, "f32 [T,48] = linear(v"));
    assert_non_null(strstr(text, ", matrix)\n"));
    free(text);
    mosa_graph_destroy(s.g);
}

static void cost_counts_multiplications_and_weight_bytes(void **state) {
    (void)state;
    sources s = make_sources();
    mosa_g_linear(s.g, s.x64, s.matrix, MOSA_NO_VALUE);
    double flops, bytes;
    mosa_op_get(MOSA_OP_LINEAR)->cost(s.g, &s.g->nodes[0], 10, &flops, &bytes);
    assert_float_equal(flops, 2.0 * 10 * 48 * 64, 0);
    assert_float_equal(bytes, 48 * 64 * 34 / 32.0 + 10 * 64 * 4 + 10 * 48 * 4, 1e-6);
    mosa_graph_destroy(s.g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_infers_its_shape),
        cmocka_unit_test(misuse_gives_one_clear_error),
        cmocka_unit_test(the_first_fault_sticks_and_later_calls_do_nothing),
        cmocka_unit_test(every_op_of_the_table_is_complete),
        cmocka_unit_test(a_graph_prints_one_line_per_node),
        cmocka_unit_test(cost_counts_multiplications_and_weight_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
