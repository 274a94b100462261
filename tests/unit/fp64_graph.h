// A graph in double precision, one plain formula per op: what derivatives are tested against by finite differences.
//
// Values are arrays of doubles. The caller fills those of inputs and weights; mosa_fp64_run computes the others in
// order of nodes. Indices (i32 inputs) are exact in doubles. ROUND is the identity, as its derivative says.
#ifndef MOSA_TESTS_UNIT_FP64_GRAPH_H
#define MOSA_TESTS_UNIT_FP64_GRAPH_H

#include "backend/backend.h"
#include "graph/op.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct fp64_graph {
    const mosa_graph *graph;
    int64_t rows;
    const mosa_segment *segments;
    int n_segments;
    double **value; // (n_values)
} fp64_graph;

static int64_t fp64_rows(const fp64_graph *f, mosa_value v) {
    const mosa_shape *shape = &f->graph->values[v].shape;
    return shape->dim[0] == MOSA_ROWS ? f->rows : shape->dim[0];
}

static int64_t fp64_columns(const fp64_graph *f, mosa_value v) {
    const mosa_shape *shape = &f->graph->values[v].shape;
    return shape->ndim < 2 ? 1 : shape->dim[shape->ndim - 1];
}

static int64_t fp64_elements(const fp64_graph *f, mosa_value v) {
    const mosa_shape *shape = &f->graph->values[v].shape;
    int64_t elements = 1;
    for (int i = 0; i < shape->ndim; i++) elements *= shape->dim[i] == MOSA_ROWS ? f->rows : shape->dim[i];
    return elements;
}

static void fp64_open(fp64_graph *f, const mosa_graph *graph, int64_t rows, const mosa_segment *segments, int n) {
    *f = (fp64_graph){.graph = graph, .rows = rows, .segments = segments, .n_segments = n};
    f->value = calloc((size_t)graph->n_values, sizeof *f->value);
    for (mosa_value v = 0; v < graph->n_values; v++)
        f->value[v] = calloc((size_t)fp64_elements(f, v) + 1, sizeof(double));
}

static void fp64_close(fp64_graph *f) {
    for (mosa_value v = 0; v < f->graph->n_values; v++) free(f->value[v]);
    free(f->value);
}

static double fp64_act(mosa_act kind, double x) {
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

static double fp64_swiglu(double gate, double up, double limit) {
    double g = fmin(gate, limit), u = fmin(fmax(up, -limit), limit);
    return (u + 1) * g / (1 + exp(-1.702 * g));
}

static void fp64_norm(fp64_graph *f, const mosa_node *node, const double *x, const double *w, double *y) {
    int64_t columns = fp64_columns(f, node->in[0]), rows = fp64_rows(f, node->in[0]);
    int64_t n = node->attrs.norm.group ? node->attrs.norm.group : columns;
    const double *bias = node->op == MOSA_OP_LAYER_NORM && node->n_in > 2 ? f->value[node->in[2]] : NULL;
    double eps = (double)node->attrs.norm.eps;
    for (int64_t g = 0; g < rows * columns; g += n) {
        double mean = 0, square = 0;
        for (int64_t i = 0; node->op == MOSA_OP_LAYER_NORM && i < n; i++) mean += x[g + i] / (double)n;
        for (int64_t i = 0; i < n; i++) square += (x[g + i] - mean) * (x[g + i] - mean);
        double r = node->op == MOSA_OP_L2_NORM ? 1 / fmax(sqrt(square), eps) : 1 / sqrt(square / (double)n + eps);
        for (int64_t i = 0; i < n; i++) y[g + i] = (x[g + i] - mean) * r * (w ? w[i] : 1) + (bias ? bias[i] : 0);
    }
}

static void fp64_linear(const double *x, const double *w, const double *bias, int64_t n, int64_t k, double *y) {
    for (int64_t i = 0; i < n; i++) {
        y[i] = bias ? bias[i] : 0;
        for (int64_t j = 0; j < k; j++) y[i] += x[j] * w[i * k + j];
    }
}

static void fp64_rope(const fp64_graph *f, const mosa_node *node, const double *x, const double *table, double *y) {
    int64_t columns = fp64_columns(f, node->in[0]), rows = fp64_rows(f, node->in[0]);
    int half = node->attrs.rope.rot / 2, width = node->attrs.rope.head_width;
    bool halves = node->attrs.rope.style == MOSA_ROPE_HALF;
    memcpy(y, x, (size_t)(rows * columns) * sizeof *y);
    for (int64_t t = 0; t < rows; t++)
        for (int64_t c = 0; c < columns; c += width)
            for (int i = 0; i < half; i++) {
                int64_t at = t * columns + c, a = at + (halves ? i : 2 * i), b = at + (halves ? i + half : 2 * i + 1);
                double cosine = table[t * 2 * half + i], sine = table[t * 2 * half + half + i];
                y[a] = x[a] * cosine - x[b] * sine;
                y[b] = x[b] * cosine + x[a] * sine;
            }
}

static void fp64_attend(const fp64_graph *f, const mosa_node *node, const mosa_segment *s, int32_t t, int head) {
    const mosa_attrs *a = &node->attrs;
    int width = a->attention.head_width, value = mosa_attention_value_width(a), kv = a->attention.kv_heads;
    int g = head / (a->attention.heads / kv), sinks = mosa_attention_sinks(f->graph, node);
    int window = a->attention.window;
    const double *q = f->value[node->in[0]] + ((int64_t)t * a->attention.heads + head) * width;
    double *y = f->value[node->out[0]] + ((int64_t)t * a->attention.heads + head) * value, p[64], max = -1e300, sum = 0;
    int32_t last = a->attention.causal ? t : s->row_begin + s->row_count - 1;
    for (int32_t j = s->row_begin; j <= last; j++) {
        const double *k = f->value[node->in[1]] + ((int64_t)j * kv + g) * width;
        double score = 0;
        for (int c = 0; c < width; c++) score += q[c] * k[c];
        score *= (double)a->attention.scale;
        if (a->attention.softcap > 0) score = (double)a->attention.softcap * tanh(score / (double)a->attention.softcap);
        bool sees = window == 0 || (j > t - window && j < t + window);
        p[j - s->row_begin] = sees ? score : -1e300;
        if (sees) max = fmax(max, score);
    }
    for (int32_t j = s->row_begin; j <= last; j++) sum += p[j - s->row_begin] = exp(p[j - s->row_begin] - max);
    if (sinks >= 0) sum += exp(f->value[node->in[sinks]][head] - max);
    memset(y, 0, (size_t)value * sizeof *y);
    for (int32_t j = s->row_begin; j <= last; j++) {
        const double *v = a->attention.value_in_key ? f->value[node->in[1]] + ((int64_t)j * kv + g) * width
                                                    : f->value[node->in[2]] + ((int64_t)j * kv + g) * value;
        for (int c = 0; c < value; c++) y[c] += p[j - s->row_begin] / sum * v[c];
    }
}

static void fp64_attention(const fp64_graph *f, const mosa_node *node) {
    for (int s = 0; s < f->n_segments; s++)
        for (int32_t t = 0; t < f->segments[s].row_count; t++)
            for (int head = 0; head < node->attrs.attention.heads; head++)
                fp64_attend(f, node, &f->segments[s], f->segments[s].row_begin + t, head);
}

// Chooses among single experts only: groups are no matter of derivatives.
static void fp64_route(fp64_graph *f, const mosa_node *node) {
    int64_t experts = fp64_columns(f, node->in[0]), k = node->attrs.moe_route.top_k;
    for (int64_t t = 0; t < f->rows; t++) {
        const double *z = f->value[node->in[0]] + t * experts;
        double *index = f->value[node->out[0]] + t * k, *weight = f->value[node->out[1]] + t * k;
        double score[64], sum = 0, total = 0;
        bool out[64] = {false};
        for (int64_t e = 0; e < experts; e++) sum += exp(z[e]);
        for (int64_t e = 0; e < experts; e++)
            score[e] = node->attrs.moe_route.scoring == MOSA_SCORE_SOFTMAX   ? exp(z[e]) / sum
                       : node->attrs.moe_route.scoring == MOSA_SCORE_SIGMOID ? 1 / (1 + exp(-z[e]))
                                                                             : exp(z[e]);
        for (int64_t i = 0; i < k; i++) {
            int64_t best = -1;
            for (int64_t e = 0; e < experts; e++)
                if (!out[e] && (best < 0 || score[e] > score[best])) best = e;
            out[best] = true;
            index[i] = (double)best;
            total += weight[i] = score[best];
        }
        bool divide = node->attrs.moe_route.normalise || node->attrs.moe_route.scoring == MOSA_SCORE_SOFTMAX_CHOSEN;
        for (int64_t i = 0; i < k; i++)
            weight[i] = weight[i] / (divide ? total : 1) * (double)node->attrs.moe_route.scale;
    }
}

static void fp64_expert_linear(const fp64_graph *f, const mosa_node *node) {
    const mosa_shape *w = &f->graph->values[node->in[1]].shape;
    int64_t n = w->dim[1], k = w->dim[2], columns = fp64_columns(f, node->in[0]);
    int64_t slots = node->n_in > 2 ? fp64_columns(f, node->in[2]) : w->dim[0];
    for (int64_t t = 0; t < f->rows; t++)
        for (int64_t s = 0; s < slots; s++) {
            int64_t e = node->n_in > 2 ? (int64_t)f->value[node->in[2]][t * slots + s] : s;
            const double *x = f->value[node->in[0]] + t * columns + (columns == k && slots > 1 ? 0 : s * k);
            const double *bias = node->n_in > 3 ? f->value[node->in[3]] + e * n : NULL;
            fp64_linear(x, f->value[node->in[1]] + e * n * k, bias, n, k, f->value[node->out[0]] + (t * slots + s) * n);
        }
}

// stats, and in dh's place nothing: the loss is the caller's sum of coef * -logp.
static void fp64_linear_ce(const fp64_graph *f, const mosa_node *node) {
    int64_t width = fp64_columns(f, node->in[0]), vocab = f->graph->values[node->in[1]].shape.dim[0];
    double *z = calloc((size_t)vocab, sizeof *z), cap = (double)node->attrs.linear_ce.softcap;
    for (int64_t t = 0; t < f->rows; t++) {
        double *stats = f->value[node->out[0]] + 4 * t, sum = 0, label = f->value[node->in[2]][t];
        fp64_linear(f->value[node->in[0]] + t * width, f->value[node->in[1]], NULL, vocab, width, z);
        memset(stats, 0, 4 * sizeof *stats);
        if (label < 0) continue;
        for (int64_t v = 0; v < vocab; v++) {
            z[v] *= (double)node->attrs.linear_ce.scale;
            if (cap > 0) z[v] = cap * tanh(z[v] / cap);
            sum += exp(z[v]);
        }
        stats[1] = log(sum);
        stats[0] = z[(int64_t)label] - stats[1];
        stats[3] = 1;
        for (int64_t v = 0; v < vocab; v++) {
            stats[2] -= exp(z[v] - stats[1]) * (z[v] - stats[1]);
            if (z[v] > z[(int64_t)label]) stats[3] = 0;
        }
    }
    free(z);
}

static void fp64_elementwise(const fp64_graph *f, const mosa_node *node, const double *a, const double *b, double *y) {
    for (int64_t i = 0; i < fp64_elements(f, node->out[0]); i++) switch (node->op) {
        case MOSA_OP_ADD:
            y[i] = a[i] + b[i];
            break;
        case MOSA_OP_MUL:
            y[i] = a[i] * b[i];
            break;
        case MOSA_OP_SCALE:
            y[i] = a[i] * (double)node->attrs.scale.value;
            break;
        case MOSA_OP_ACT:
            y[i] = fp64_act(node->attrs.act.kind, a[i]);
            break;
        case MOSA_OP_GATED_ACT:
            y[i] = node->attrs.act.kind == MOSA_ACT_CLAMPED_SWIGLU
                       ? fp64_swiglu(a[i], b[i], (double)node->attrs.act.limit)
                       : fp64_act(node->attrs.act.kind, a[i]) * b[i];
            break;
        default: // ROUND
            y[i] = a[i];
        }
}

static void fp64_move(const fp64_graph *f, const mosa_node *node, const double *a, const double *b, double *y) {
    int64_t columns = fp64_columns(f, node->in[0]), rows = fp64_rows(f, node->out[0]);
    for (int64_t t = 0; t < rows; t++) {
        if (node->op == MOSA_OP_EMBED || node->op == MOSA_OP_GATHER_ROWS) {
            bool embed = node->op == MOSA_OP_EMBED;
            int64_t width = fp64_columns(f, node->out[0]), from = (int64_t)(embed ? a : b)[t];
            memcpy(y + t * width, (embed ? b : a) + from * width, (size_t)width * sizeof *y);
        } else if (node->op == MOSA_OP_SLICE) {
            int64_t group = node->attrs.slice.group ? node->attrs.slice.group : columns;
            for (int64_t g = 0; g < columns; g += group, y += node->attrs.slice.count)
                memcpy(y, a + t * columns + g + node->attrs.slice.begin, (size_t)node->attrs.slice.count * sizeof *y);
        } else { // JOIN
            int64_t groups = node->attrs.join.groups, n = columns / groups, m = fp64_columns(f, node->in[1]) / groups;
            for (int64_t g = 0; g < groups; g++, y += n + m) {
                memcpy(y, a + t * columns + g * n, (size_t)n * sizeof *y);
                memcpy(y + n, b + (t * groups + g) * m, (size_t)m * sizeof *y);
            }
        }
    }
}

static void fp64_combine(const fp64_graph *f, const mosa_node *node, const double *x, const double *weight, double *y) {
    int64_t slots = fp64_columns(f, node->in[1]), width = fp64_columns(f, node->out[0]);
    for (int64_t t = 0; t < f->rows; t++)
        for (int64_t i = 0; i < width; i++) {
            y[t * width + i] = 0;
            for (int64_t s = 0; s < slots; s++)
                y[t * width + i] += weight[t * slots + s] * x[(t * slots + s) * width + i];
        }
}

static void fp64_rope_table(const fp64_graph *f, const mosa_node *node, const double *at, const double *freq,
                            double *y) {
    int half = node->attrs.rope_table.rot / 2;
    for (int64_t t = 0; t < f->rows; t++)
        for (int i = 0; i < half; i++) {
            double angle = (double)((float)at[t] * (float)freq[i]); // as the kernels round it
            y[t * 2 * half + i] = cos(angle) * (double)node->attrs.rope_table.mscale;
            y[t * 2 * half + half + i] = sin(angle) * (double)node->attrs.rope_table.mscale;
        }
}

static void fp64_node(fp64_graph *f, const mosa_node *node) {
    const double *a = f->value[node->in[0]], *b = node->n_in > 1 ? f->value[node->in[1]] : NULL;
    double *y = f->value[node->out[0]];
    switch (node->op) {
    case MOSA_OP_EMBED:
    case MOSA_OP_GATHER_ROWS:
    case MOSA_OP_SLICE:
    case MOSA_OP_JOIN:
        fp64_move(f, node, a, b, y);
        return;
    case MOSA_OP_LINEAR:
    case MOSA_OP_LORA_ADD: {
        bool lora = node->op == MOSA_OP_LORA_ADD;
        int64_t n = fp64_columns(f, node->out[0]), k = fp64_columns(f, node->in[lora]);
        for (int64_t t = 0; t < fp64_rows(f, node->out[0]); t++)
            fp64_linear(lora ? b + t * k : a + t * k, lora ? f->value[node->in[2]] : b,
                        lora             ? a + t * n
                        : node->n_in > 2 ? f->value[node->in[2]]
                                         : NULL,
                        n, k, y + t * n);
        return;
    }
    case MOSA_OP_RMS_NORM:
    case MOSA_OP_LAYER_NORM:
    case MOSA_OP_L2_NORM:
        fp64_norm(f, node, a, b, y);
        return;
    case MOSA_OP_ADD_RMS_NORM:
        for (int64_t i = 0; i < fp64_elements(f, node->out[0]); i++) y[i] = a[i] + b[i];
        fp64_norm(f, node, y, f->value[node->in[2]], f->value[node->out[1]]);
        return;
    case MOSA_OP_ROPE_TABLE:
        fp64_rope_table(f, node, a, b, y);
        return;
    case MOSA_OP_ROPE:
        fp64_rope(f, node, a, b, y);
        return;
    case MOSA_OP_ATTENTION:
        fp64_attention(f, node);
        return;
    case MOSA_OP_MOE_ROUTE:
        fp64_route(f, node);
        return;
    case MOSA_OP_EXPERT_LINEAR:
        fp64_expert_linear(f, node);
        return;
    case MOSA_OP_MOE_COMBINE:
        fp64_combine(f, node, a, b, y);
        return;
    case MOSA_OP_LINEAR_CE:
        fp64_linear_ce(f, node);
        return;
    default:
        fp64_elementwise(f, node, a, b, y);
    }
}

static void fp64_run(fp64_graph *f) {
    for (int n = 0; n < f->graph->n_nodes; n++) fp64_node(f, &f->graph->nodes[n]);
}

#endif
