// Derivatives of MOE_ROUTE, EXPERT_LINEAR and MOE_COMBINE, reference. Sums over rows run in order of rows, then slots.
#include "backend/cpu/experts.h"
#include "backend/cpu/math.h"
#include "backend/cpu/ref/ref.h"

#include <string.h>

// ---- MOE_ROUTE: weight = scale * normalise(score of the chosen). The choice itself has no slope.

static void softmax(const float *x, float *y, int n) {
    float max = x[0], sum = 0;
    for (int i = 1; i < n; i++) max = x[i] > max ? x[i] : max;
    for (int i = 0; i < n; i++) sum += y[i] = mosa_expf(x[i] - max);
    for (int i = 0; i < n; i++) y[i] /= sum;
}

// ds[k]: from the gradients of weights to those of the scores s[k] of the chosen.
static void unweigh(const mosa_node *node, const float *dweight, const float *s, float *ds, int k) {
    float sum = 1e-20f, along = 0;
    for (int i = 0; i < k; i++) ds[i] = dweight[i] * node->attrs.moe_route.scale;
    if (!node->attrs.moe_route.normalise) return;
    for (int i = 0; i < k; i++) sum += s[i];
    for (int i = 0; i < k; i++) along += ds[i] * s[i];
    for (int i = 0; i < k; i++) ds[i] = (ds[i] - along / sum) / sum;
}

typedef struct route_space {
    float score[MOSA_EXPERTS_MAX], s[MOSA_EXPERTS_MAX], ds[MOSA_EXPERTS_MAX];
} route_space;

static void route_row(const mosa_node *node, route_space *r, const float *dweight, const float *logits,
                      const int32_t *index, int experts, int k, float *dlogits) {
    mosa_scoring scoring = node->attrs.moe_route.scoring;
    bool chosen = scoring == MOSA_SCORE_SOFTMAX_CHOSEN;
    if (scoring == MOSA_SCORE_SOFTMAX) softmax(logits, r->score, experts);
    if (scoring == MOSA_SCORE_SIGMOID)
        for (int e = 0; e < experts; e++) r->score[e] = mosa_actf(MOSA_ACT_SIGMOID, logits[e]);
    for (int i = 0; i < k; i++) r->s[i] = chosen ? logits[index[i]] : r->score[index[i]];
    if (chosen) softmax(r->s, r->s, k);
    unweigh(node, dweight, r->s, r->ds, k);
    float along = 0;
    for (int i = 0; i < k; i++) along = fmaf(r->ds[i], r->s[i], along);
    for (int e = 0; e < experts; e++) dlogits[e] = scoring == MOSA_SCORE_SOFTMAX ? -r->score[e] * along : 0;
    for (int i = 0; i < k; i++) {
        float slope = scoring == MOSA_SCORE_SIGMOID ? r->ds[i] * (1 - r->s[i]) : r->ds[i] - (chosen ? along : 0);
        dlogits[index[i]] += r->s[i] * slope;
    }
}

void mosa_ref_moe_route_dx(const mosa_cpu_args *args, int thread, int n_threads) {
    int experts = (int)mosa_cpu_columns(args, 1), k = (int)mosa_cpu_columns(args, 2);
    int64_t begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        route_row(args->node, args->scratch, mosa_cpu_in_row(args, 0, t), mosa_cpu_in_row(args, 1, t),
                  (const int32_t *)mosa_cpu_in_row(args, 2, t), experts, k, mosa_cpu_out_row(args, 0, t));
}

// ---- EXPERT_LINEAR

static int32_t expert_at(const mosa_cpu_args *args, int operand, int64_t row, int64_t slot) {
    return operand < 0 ? (int32_t)slot : ((const int32_t *)mosa_cpu_in_row(args, operand, row))[slot];
}

// dx of one slot: adds sum over n of dy[n] w[n], matrix rows decoded one by one.
static void add_slot_dx(const mosa_tensor_view *w, const float *dy, float *decoded, float *dx) {
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(w->dtype);
    size_t row_bytes = (size_t)(w->dims[1] / traits->block_len) * traits->block_bytes;
    for (int64_t n = 0; n < w->dims[0]; n++) {
        if (dy[n] == 0) continue; // a whole row of zeros where a slot does not count
        traits->to_f32((const char *)w->data + (size_t)n * row_bytes, decoded, w->dims[1]);
        for (int64_t i = 0; i < w->dims[1]; i++) dx[i] = fmaf(dy[n], decoded[i], dx[i]);
    }
}

void mosa_ref_expert_linear_dx(const mosa_cpu_args *args, int thread, int n_threads) {
    const mosa_tensor_view *stack = &((const mosa_weight *)args->in[1])->view;
    int index = args->node->n_in > 2 ? 2 : -1;
    int64_t n = stack->dims[1], k = stack->dims[2], slots = mosa_cpu_columns(args, 0) / n;
    int64_t columns = args->node->attrs.expert.columns, step = columns == k && slots > 1 ? 0 : k, begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        float *dx = mosa_cpu_out_row(args, 0, t);
        memset(dx, 0, (size_t)columns * sizeof *dx);
        for (int64_t s = 0; s < slots; s++) {
            mosa_tensor_view w = mosa_cpu_slice(stack, expert_at(args, index, t, s));
            add_slot_dx(&w, mosa_cpu_in_row(args, 0, t) + s * n, args->scratch, dx + s * step);
        }
    }
}

// A thread takes the same share of rows of every matrix.
void mosa_ref_expert_linear_dw(const mosa_cpu_args *args, int thread, int n_threads) {
    int grads = args->node->n_in - 1, index = grads > 2 ? 2 : -1;
    int64_t experts = args->node->attrs.expert.experts, k = args->node->attrs.expert.width;
    int64_t n = args->node->attrs2.grad.elements / experts / k, slots = mosa_cpu_columns(args, 0) / n, begin, end;
    int64_t step = mosa_cpu_columns(args, 1) == k && slots > 1 ? 0 : k;
    float *grad = mosa_cpu_grad(args, grads);
    mosa_cpu_share(n, 1, thread, n_threads, &begin, &end);
    for (int64_t t = 0; t < args->rows; t++)
        for (int64_t s = 0; s < slots; s++) {
            const float *dy = mosa_cpu_in_row(args, 0, t) + s * n, *x = mosa_cpu_in_row(args, 1, t) + s * step;
            float *dw = grad + expert_at(args, index, t, s) * n * k;
            for (int64_t r = begin; r < end; r++)
                for (int64_t i = 0; i < k; i++) dw[r * k + i] = fmaf(dy[r], x[i], dw[r * k + i]);
        }
}

void mosa_ref_expert_rows_sum(const mosa_cpu_args *args, int thread, int n_threads) {
    int64_t n = args->node->attrs2.grad.elements / args->node->attrs.expert.experts, begin, end;
    int64_t slots = mosa_cpu_columns(args, 0) / n;
    float *grad = mosa_cpu_grad(args, 2);
    mosa_cpu_share(n, 1, thread, n_threads, &begin, &end);
    for (int64_t t = 0; t < args->rows; t++)
        for (int64_t s = 0; s < slots; s++) {
            const float *dy = mosa_cpu_in_row(args, 0, t) + s * n;
            float *db = grad + expert_at(args, 1, t, s) * n;
            for (int64_t i = begin; i < end; i++) db[i] += dy[i];
        }
}

// ---- MOE_COMBINE

void mosa_ref_moe_combine_dx(const mosa_cpu_args *args, int thread, int n_threads) {
    int64_t width = mosa_cpu_columns(args, 0), slots = mosa_cpu_columns(args, 2), begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *dy = mosa_cpu_in_row(args, 0, t), *x = mosa_cpu_in_row(args, 1, t);
        const float *weight = mosa_cpu_in_row(args, 2, t);
        float *dx = mosa_cpu_out_row(args, 0, t), *dweight = mosa_cpu_out_row(args, 1, t);
        for (int64_t s = 0; s < slots; s++, x += width, dx += width) {
            float lane[32] = {0};
            for (int64_t i = 0; i < width; i++) {
                dx[i] = weight[s] * dy[i];
                lane[i % 32] = fmaf(x[i], dy[i], lane[i % 32]);
            }
            dweight[s] = mosa_sum32(lane);
        }
    }
}
