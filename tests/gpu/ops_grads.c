// Derivatives one by one. Their inputs are noise like any other; what adds to gradients adds to noise.
#include "ops_grads.h"

#include <math.h>

typedef struct grad_config {
    mosa_op op;
    int64_t columns, n; // of x; of dy, where it has others
    mosa_attrs attrs, attrs2;
    mosa_dtype dtype; // of a matrix
    bool frozen;      // LINEAR_CE: no gradient of the matrix
} grad_config;

static void apply(ops_build *b, const grad_config *c, const mosa_value *in, int n_in) {
    if (mosa_graph_apply2(b->graph, c->op, in, n_in, &c->attrs, &c->attrs2) == MOSA_NO_VALUE) return;
    const mosa_node *made = &b->graph->nodes[b->graph->n_nodes - 1];
    for (int i = 0; i < made->n_out; i++) {
        bool room = c->op == MOSA_OP_LINEAR_CE && i == 2;
        if (b->graph->values[made->out[i]].kind != MOSA_VALUE_STATE && !room) mosa_graph_output(b->graph, made->out[i]);
    }
}

// Of rows of one width: (dy, x), (dy, x, w) or (dy, gate, up).
static void build_rows(ops_build *b, const void *config) {
    const grad_config *c = config;
    mosa_value in[3] = {ops_rows(b, c->columns, 1), MOSA_NO_VALUE, MOSA_NO_VALUE};
    int n_in = 1;
    bool norm = c->op == MOSA_OP_RMS_NORM_DX || c->op == MOSA_OP_LAYER_NORM_DX;
    int64_t group = c->attrs.norm.group ? c->attrs.norm.group : c->columns;
    if (c->op != MOSA_OP_UNSLICE && c->op != MOSA_OP_ROUND) in[n_in++] = ops_rows(b, c->columns, 2);
    if (c->op == MOSA_OP_GATED_ACT_DX) in[n_in++] = ops_rows(b, c->columns, 2);
    if (norm) in[n_in++] = ops_weight_of(b, MOSA_F32, MOSA_SHAPE1(group), 0.3f, 1);
    apply(b, c, in, n_in);
}

static void build_rope_dx(ops_build *b, const void *config) {
    const grad_config *c = config;
    mosa_value dy = ops_rows(b, c->columns, 1), positions = ops_positions(b);
    mosa_value frequencies = ops_weight_of(b, MOSA_F32, MOSA_SHAPE1(c->attrs.rope.rot / 2), 0.5f, 0.5f);
    apply(b, c, (mosa_value[]){dy, mosa_g_rope_table(b->graph, positions, frequencies, 1)}, 2);
}

static void build_linear_dx(ops_build *b, const void *config) {
    const grad_config *c = config;
    b->exact = true;
    mosa_value dy = ops_rows(b, c->n, 1);
    mosa_value w = ops_weight_of(b, c->dtype, MOSA_SHAPE2(c->n, c->columns), 1 / sqrtf((float)c->n), 0);
    apply(b, c, (mosa_value[]){dy, w}, 2);
}

static void build_lora_add(ops_build *b, const void *config) {
    const grad_config *c = config;
    mosa_value y = ops_rows(b, c->n, 1), u = ops_rows(b, c->columns, 1);
    apply(b, c, (mosa_value[]){y, u, ops_weight_of(b, c->dtype, MOSA_SHAPE2(c->n, c->columns), 0.3f, 0)}, 3);
}

// What adds to the gradient of weight slot 0, which nobody reads.
static void build_sum(ops_build *b, const void *config) {
    grad_config c = *(const grad_config *)config;
    int64_t elements = c.op == MOSA_OP_LINEAR_DW ? c.n * c.columns : c.op == MOSA_OP_EMBED_DW ? 50 * c.columns : c.n;
    b->exact = c.op == MOSA_OP_LINEAR_DW;
    (void)ops_weight_of(b, MOSA_F32, MOSA_SHAPE1(elements), 0.1f, 0);
    c.attrs2.grad.slot = 0;
    c.attrs2.grad.elements = elements;
    mosa_value in[3] = {ops_rows(b, c.op == MOSA_OP_LINEAR_DW ? c.n : c.columns, 1)};
    int n_in = 1;
    if (c.op == MOSA_OP_EMBED_DW)
        in[n_in++] = ops_ids(b, 50);
    else if (c.op != MOSA_OP_ROWS_SUM)
        in[n_in++] = ops_rows(b, c.columns, 2);
    in[n_in++] = ops_grads(b);
    apply(b, &c, in, n_in);
}

static void build_scatter(ops_build *b, const void *config) {
    grad_config c = *(const grad_config *)config;
    c.attrs.scatter.rows = MOSA_ROWS;
    mosa_value dy = ops_rows(b, c.columns, 1);
    apply(b, &c, (mosa_value[]){dy, ops_reversed(b)}, 2);
}

static void build_loss(ops_build *b, const void *config) {
    grad_config c = *(const grad_config *)config;
    b->exact = true;
    mosa_value h = ops_rows(b, c.columns, 1);
    mosa_value w = ops_weight_of(b, c.dtype, MOSA_SHAPE2(c.n, c.columns), 2 / sqrtf((float)c.columns), 0);
    mosa_value labels = ops_ids(b, (int32_t)c.n), coef = ops_rows(b, 1, 1);
    c.attrs2.grad.slot = c.frozen ? -1 : 0;
    c.attrs2.grad.elements = c.n * c.columns;
    apply(b, &c, (mosa_value[]){h, w, labels, coef, ops_grads(b)}, 5);
}

static void build_attention_dx(ops_build *b, const void *config) {
    const grad_config *c = config;
    int64_t heads = c->attrs.attention.heads, groups = c->attrs.attention.kv_heads;
    int64_t width = c->attrs.attention.head_width;
    b->whole_sequences = true;
    mosa_value in[4] = {ops_rows(b, heads * width, 1), ops_rows(b, heads * width, 1), ops_rows(b, groups * width, 1),
                        ops_rows(b, groups * width, 1)};
    apply(b, c, in, 4);
}

#define GRAD(...)                                                                                                      \
    &(grad_config) {                                                                                                   \
        __VA_ARGS__                                                                                                    \
    }
#define NORM(group) .attrs = {.norm = {1e-5f, group}}
#define ACT(kind)   .attrs = {.act = {kind, 1.5f}}

const ops_case ops_grad_cases[] = {
    {"round f16", build_rows, GRAD(MOSA_OP_ROUND, 40, 0, .attrs = {.round = {MOSA_F16}}), 1e-30},
    {"round bf16", build_rows, GRAD(MOSA_OP_ROUND, 40, 0, .attrs = {.round = {MOSA_BF16}}), 1e-30},
    {"lora_add f32", build_lora_add, GRAD(MOSA_OP_LORA_ADD, 6, 70, .dtype = MOSA_F32), 1e-5},
    {"lora_add bf16", build_lora_add, GRAD(MOSA_OP_LORA_ADD, 6, 70, .dtype = MOSA_BF16), 1e-5},
    {"linear_dx f32", build_linear_dx, GRAD(MOSA_OP_LINEAR_DX, 72, 136, .dtype = MOSA_F32), 1e-4},
    {"linear_dx bf16", build_linear_dx, GRAD(MOSA_OP_LINEAR_DX, 256, 512, .dtype = MOSA_BF16), 1e-4},
    {"linear_dx bf16, odd", build_linear_dx, GRAD(MOSA_OP_LINEAR_DX, 37, 61, .dtype = MOSA_BF16), 1e-4},
    {"linear_dx q8_0", build_linear_dx, GRAD(MOSA_OP_LINEAR_DX, 128, 96, .dtype = MOSA_Q8_0), 2e-2},
    {"linear_dx q4_k", build_linear_dx, GRAD(MOSA_OP_LINEAR_DX, 256, 64, .dtype = MOSA_Q4_K), 2e-2},
    {"linear_dw", build_sum, GRAD(MOSA_OP_LINEAR_DW, 200, 144), 1e-4},
    {"linear_dw, odd", build_sum, GRAD(MOSA_OP_LINEAR_DW, 33, 17), 1e-4},
    {"rows_sum", build_sum, GRAD(MOSA_OP_ROWS_SUM, 96, 96), 1e-5},
    {"rows_sum of groups", build_sum, GRAD(MOSA_OP_ROWS_SUM, 96, 24), 1e-5},
    {"embed_dw", build_sum, GRAD(MOSA_OP_EMBED_DW, 40, 0), 1e-5},
    {"scatter_rows", build_scatter, GRAD(MOSA_OP_SCATTER_ROWS, 40, 0), 1e-5},
    {"rms_norm_dx", build_rows, GRAD(MOSA_OP_RMS_NORM_DX, 768, 0, NORM(0)), 2e-5},
    {"rms_norm_dx of heads", build_rows, GRAD(MOSA_OP_RMS_NORM_DX, 96, 0, NORM(24)), 2e-5},
    {"layer_norm_dx", build_rows, GRAD(MOSA_OP_LAYER_NORM_DX, 200, 0, NORM(0)), 2e-5},
    {"l2_norm_dx", build_rows, GRAD(MOSA_OP_L2_NORM_DX, 50, 0, NORM(0)), 2e-5},
    {"rms_norm_dw", build_sum, GRAD(MOSA_OP_RMS_NORM_DW, 768, 768, NORM(0)), 2e-5},
    {"rms_norm_dw of heads", build_sum, GRAD(MOSA_OP_RMS_NORM_DW, 96, 24, NORM(24)), 2e-5},
    {"layer_norm_dw", build_sum, GRAD(MOSA_OP_LAYER_NORM_DW, 200, 200, NORM(0)), 2e-5},
    {"act_dx silu", build_rows, GRAD(MOSA_OP_ACT_DX, 65, 0, ACT(MOSA_ACT_SILU)), 2e-5},
    {"act_dx gelu", build_rows, GRAD(MOSA_OP_ACT_DX, 65, 0, ACT(MOSA_ACT_GELU)), 2e-5},
    {"act_dx gelu_tanh", build_rows, GRAD(MOSA_OP_ACT_DX, 65, 0, ACT(MOSA_ACT_GELU_TANH)), 2e-5},
    {"gated_act_dx silu", build_rows, GRAD(MOSA_OP_GATED_ACT_DX, 65, 0, ACT(MOSA_ACT_SILU)), 2e-5},
    {"gated_act_dx clamped_swiglu", build_rows, GRAD(MOSA_OP_GATED_ACT_DX, 65, 0, ACT(MOSA_ACT_CLAMPED_SWIGLU)), 2e-5},
    {"unslice", build_rows,
     GRAD(MOSA_OP_UNSLICE, 15, 0, .attrs = {.slice = {3, 5, 20}}, .attrs2 = {.slice = {.count = 60}}), 1e-30},
    {"rope_dx halves", build_rope_dx, GRAD(MOSA_OP_ROPE_DX, 72, 0, .attrs = {.rope = {24, 10, MOSA_ROPE_HALF}}), 1e-5},
    {"rope_dx neighbours", build_rope_dx,
     GRAD(MOSA_OP_ROPE_DX, 64, 0, .attrs = {.rope = {32, 32, MOSA_ROPE_INTERLEAVED}}), 1e-5},
    {"attention_dx", build_attention_dx,
     GRAD(MOSA_OP_ATTENTION_DX, 0, 0,
          .attrs = {.attention = {.heads = 4, .kv_heads = 2, .head_width = 64, .scale = 0.125f, .causal = true}}),
     6e-2},
    {"linear_ce bf16", build_loss,
     GRAD(MOSA_OP_LINEAR_CE, 128, 500, .attrs = {.linear_ce = {1, 0, 100}}, .dtype = MOSA_BF16), 1e-2},
    {"linear_ce f32, capped", build_loss,
     GRAD(MOSA_OP_LINEAR_CE, 64, 301, .attrs = {.linear_ce = {0.5f, 4, 64}}, .dtype = MOSA_F32), 1e-2},
    {"linear_ce q8_0, frozen", build_loss,
     GRAD(MOSA_OP_LINEAR_CE, 96, 200, .attrs = {.linear_ce = {1, 0, 512}}, .dtype = MOSA_Q8_0, .frozen = true), 3e-2},
};
const int ops_n_grad_cases = MOSA_COUNT(ops_grad_cases);
