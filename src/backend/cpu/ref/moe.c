// MOE_ROUTE and MOE_COMBINE, reference; fast tables use MOE_ROUTE as it is, for it looks at E numbers per row.
//
// MOE_ROUTE, the contract. Scores: softmax = exp(x - max) / (sum in order of experts); sigmoid = 1 / (1 + exp(-x)); for
// softmax over the chosen the score is the logit. Choice value = score + bias. A group's value is the largest choice
// value in it, or the sum of the two largest (larger + smaller). Groups, then experts of the groups taken, are chosen
// one by one, the largest first, the first of equals; a NaN is neither larger nor smaller, so that k different experts
// are chosen whatever the logits are. Weights are the scores of the chosen; normalise: divided by their sum in order
// of slots + 1e-20; then times scale.
//
// MOE_COMBINE: acc = +0, then acc = fma(weight, x, acc) in order of slots.
#include "backend/cpu/math.h"
#include "backend/cpu/ref/ref.h"

#include <assert.h>

typedef struct route_space {
    float score[MOSA_EXPERTS_MAX], choice[MOSA_EXPERTS_MAX], group[MOSA_EXPERTS_MAX];
    bool out[MOSA_EXPERTS_MAX]; // expert chosen already, or its group not taken
    bool group_taken[MOSA_EXPERTS_MAX];
} route_space;
static_assert(sizeof(route_space) <= MOSA_CPU_SCRATCH_BYTES, "scratch");

// The largest of values[0..n) that is not in `out`, the first of equals; -1 when all are out.
static int largest(const float *values, const bool *out, int n) {
    int best = -1;
    for (int i = 0; i < n; i++)
        if (!out[i] && (best < 0 || values[i] > values[best])) best = i;
    return best;
}

// y = exp(x - max) / sum
static void softmax(const float *x, float *y, int n) {
    float max = x[0], sum = 0;
    for (int i = 1; i < n; i++) max = x[i] > max ? x[i] : max;
    for (int i = 0; i < n; i++) {
        y[i] = mosa_expf(x[i] - max);
        sum += y[i];
    }
    for (int i = 0; i < n; i++) y[i] /= sum;
}

static void score(const mosa_node *node, const float *logits, float *scores, int experts) {
    switch (node->attrs.moe_route.scoring) {
    case MOSA_SCORE_SOFTMAX:
        softmax(logits, scores, experts);
        break;
    case MOSA_SCORE_SIGMOID:
        for (int e = 0; e < experts; e++) scores[e] = mosa_actf(MOSA_ACT_SIGMOID, logits[e]);
        break;
    case MOSA_SCORE_SOFTMAX_CHOSEN:
        for (int e = 0; e < experts; e++) scores[e] = logits[e];
        break;
    }
}

static float group_value(const float *choice, int width, int best_of) {
    float first = choice[0], second = -INFINITY;
    for (int i = 1; i < width; i++) {
        if (choice[i] > first) {
            second = first;
            first = choice[i];
        } else if (choice[i] > second) {
            second = choice[i];
        }
    }
    return best_of == 2 ? first + second : first;
}

// Experts of groups that are not among the best go out.
static void leave_groups(const mosa_node *node, route_space *s, int experts) {
    int groups = node->attrs.moe_route.groups, width = groups ? experts / groups : 0;
    for (int e = 0; e < experts; e++) s->out[e] = groups > 0;
    for (int g = 0; g < groups; g++) {
        s->group[g] = group_value(s->choice + g * width, width, node->attrs.moe_route.group_best);
        s->group_taken[g] = false;
    }
    for (int i = 0; groups && i < node->attrs.moe_route.top_groups; i++) {
        int g = largest(s->group, s->group_taken, groups);
        s->group_taken[g] = true;
        for (int e = g * width; e < (g + 1) * width; e++) s->out[e] = false;
    }
}

static void weigh(const mosa_node *node, float *weight) {
    int k = node->attrs.moe_route.top_k;
    float sum = 0;
    if (node->attrs.moe_route.scoring == MOSA_SCORE_SOFTMAX_CHOSEN) softmax(weight, weight, k);
    for (int i = 0; i < k; i++) sum += weight[i];
    for (int i = 0; i < k; i++) {
        if (node->attrs.moe_route.normalise) weight[i] /= sum + 1e-20f;
        weight[i] *= node->attrs.moe_route.scale;
    }
}

void mosa_ref_moe_route(const mosa_cpu_args *args, int thread, int n_threads) {
    const mosa_node *node = args->node;
    route_space *s = args->scratch;
    const float *bias = node->n_in > 1 ? mosa_cpu_vector(args, 1) : NULL;
    int experts = (int)mosa_cpu_columns(args, 0);
    int64_t begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        int32_t *index = (int32_t *)mosa_cpu_out_row(args, 0, t);
        float *weight = mosa_cpu_out_row(args, 1, t);
        score(node, mosa_cpu_in_row(args, 0, t), s->score, experts);
        for (int e = 0; e < experts; e++) s->choice[e] = bias ? s->score[e] + bias[e] : s->score[e];
        leave_groups(node, s, experts);
        for (int i = 0; i < node->attrs.moe_route.top_k; i++) {
            index[i] = largest(s->choice, s->out, experts);
            s->out[index[i]] = true;
            weight[i] = s->score[index[i]];
        }
        weigh(node, weight);
    }
}

void mosa_ref_moe_combine(const mosa_cpu_args *args, int thread, int n_threads) {
    int64_t slots = mosa_cpu_columns(args, 1), width = mosa_cpu_columns(args, 0) / slots, begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *x = mosa_cpu_in_row(args, 0, t), *weight = mosa_cpu_in_row(args, 1, t);
        float *y = mosa_cpu_out_row(args, 0, t);
        for (int64_t i = 0; i < width; i++) {
            float acc = 0;
            for (int64_t s = 0; s < slots; s++) acc = fmaf(weight[s], x[s * width + i], acc);
            y[i] = acc;
        }
    }
}
