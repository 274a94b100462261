// Graphs and plans as text, one line per node: "v7 f32 [T,512] = rms_norm(v5, blk.0.attn_norm.weight)".
#include "graph/graph.h"
#include "graph/op.h"
#include "graph/ops/ops.h"
#include "graph/plan.h"

#include <stdio.h>

static void print_value_name(const mosa_graph *graph, mosa_value value, FILE *file) {
    const mosa_value_info *info = &graph->values[value];
    if (info->name && info->producer < 0)
        (void)fputs(info->name, file);
    else
        (void)fprintf(file, "v%d", (int)value);
}

static void print_route(const mosa_attrs *attrs, FILE *file) {
    static const char *const scorings[] = {"softmax", "sigmoid", "softmax_chosen"};
    (void)fprintf(file, " top=%d %s", attrs->moe_route.top_k, scorings[attrs->moe_route.scoring]);
    if (attrs->moe_route.normalise) (void)fputs(" normalise", file);
    if (attrs->moe_route.scale != 1) (void)fprintf(file, " scale=%g", (double)attrs->moe_route.scale);
    if (attrs->moe_route.groups)
        (void)fprintf(file, " groups=%d/%d", attrs->moe_route.top_groups, attrs->moe_route.groups);
}

static void print_attrs(const mosa_graph *graph, const mosa_node *node, FILE *file) {
    static const char *const acts[] = {"silu", "gelu", "gelu_tanh", "relu", "sigmoid", "tanh", "clamped_swiglu"};
    const mosa_attrs *attrs = &node->attrs;
    switch (node->op) {
    case MOSA_OP_RMS_NORM:
    case MOSA_OP_LAYER_NORM:
    case MOSA_OP_L2_NORM:
    case MOSA_OP_ADD_RMS_NORM:
        (void)fprintf(file, " eps=%g", (double)attrs->norm.eps);
        if (attrs->norm.group) (void)fprintf(file, " group=%lld", (long long)attrs->norm.group);
        break;
    case MOSA_OP_SCALE:
        (void)fprintf(file, " by=%g", (double)attrs->scale.value);
        break;
    case MOSA_OP_ACT:
    case MOSA_OP_GATED_ACT:
        (void)fprintf(file, " %s", acts[attrs->act.kind]);
        break;
    case MOSA_OP_SLICE:
        (void)fprintf(file, " begin=%lld", (long long)attrs->slice.begin);
        break;
    case MOSA_OP_JOIN:
        (void)fprintf(file, " groups=%lld", (long long)attrs->join.groups);
        break;
    case MOSA_OP_MOE_ROUTE:
        print_route(attrs, file);
        break;
    case MOSA_OP_ROPE:
    case MOSA_OP_ROPE_KV_WRITE:
        (void)fprintf(file, " rot=%d/%d %s", attrs->rope.rot, attrs->rope.head_width,
                      attrs->rope.style == MOSA_ROPE_HALF ? "half" : "interleaved");
        if (node->op == MOSA_OP_ROPE_KV_WRITE) (void)fprintf(file, " layer=%d", node->attrs2.attention.layer);
        break;
    case MOSA_OP_KV_WRITE:
        (void)fprintf(file, " layer=%d", attrs->attention.layer);
        break;
    case MOSA_OP_ATTENTION:
        (void)fprintf(file, " layer=%d heads=%d/%d scale=%g", attrs->attention.layer, attrs->attention.heads,
                      attrs->attention.kv_heads, (double)attrs->attention.scale);
        if (attrs->attention.window) (void)fprintf(file, " window=%d", attrs->attention.window);
        if (attrs->attention.softcap > 0) (void)fprintf(file, " softcap=%g", (double)attrs->attention.softcap);
        if (attrs->attention.causal) (void)fputs(" causal", file);
        if (attrs->attention.value_width) (void)fprintf(file, " value_width=%d", attrs->attention.value_width);
        if (attrs->attention.value_in_key) (void)fputs(" value_in_key", file);
        if (mosa_attention_sinks(graph, node) >= 0) (void)fputs(" sinks", file);
        break;
    case MOSA_OP_QUANTIZE_ROWS:
        (void)fprintf(file, " layout=%d", attrs->quantize.layout);
        break;
    default:
        break;
    }
}

static void print_node(const mosa_graph *graph, const mosa_node *node, FILE *file) {
    for (int i = 0; i < node->n_out; i++) {
        char text[MOSA_SHAPE_TEXT_MAX];
        mosa_value_text(&graph->values[node->out[i]], text);
        (void)fprintf(file, "%sv%d %s", i ? ", " : "", (int)node->out[i], text);
    }
    (void)fprintf(file, " = %s(", mosa_op_get(node->op)->name);
    for (int i = 0; i < node->n_in; i++) {
        if (i) (void)fputs(", ", file);
        print_value_name(graph, node->in[i], file);
    }
    (void)fputc(')', file);
    print_attrs(graph, node, file);
    (void)fputc('\n', file);
}

void mosa_graph_print(const mosa_graph *graph, void *stdio_file) {
    FILE *file = stdio_file;
    (void)fprintf(file, "graph: %d nodes, %d inputs, %d weights, %d states\n", graph->n_nodes, graph->n_inputs,
                  graph->n_weights, graph->n_states);
    for (int n = 0; n < graph->n_nodes; n++) print_node(graph, &graph->nodes[n], file);
    for (int i = 0; i < graph->n_outputs; i++) {
        (void)fprintf(file, "output %d = ", i);
        print_value_name(graph, graph->outputs[i], file);
        (void)fputc('\n', file);
    }
}
