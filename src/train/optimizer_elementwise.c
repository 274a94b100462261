// AdamW and SGD on a chunk: one fused loop, in the order of operations of PyTorch's single-tensor form.
#include "train/optimizer_internal.h"

#include <math.h>

MOSA_TRAIN_WIDE
void mosa_adamw_chunk(const mosa_step_values *s, float *restrict w, const float *restrict g, float *restrict m,
                      float *restrict v, uint32_t n) {
    const float keep = 1 - s->lr * s->weight_decay, scale = s->grad_scale, one_minus_beta1 = 1 - s->beta1;
    const float beta2 = s->beta2, one_minus_beta2 = 1 - s->beta2, step_size = s->step_size;
    const float sqrt_bias2 = s->sqrt_bias2, eps = s->eps;
    for (uint32_t i = 0; i < n; i++) {
        float grad = g[i] * scale;
        float mi = m[i] + (grad - m[i]) * one_minus_beta1;
        float vi = v[i] * beta2 + one_minus_beta2 * grad * grad;
        m[i] = mi;
        v[i] = vi;
        w[i] = w[i] * keep - step_size * (mi / (sqrtf(vi) / sqrt_bias2 + eps));
    }
}

MOSA_TRAIN_WIDE
void mosa_sgd_chunk(const mosa_step_values *s, float *restrict w, const float *restrict g, float *restrict b,
                    uint32_t n) {
    const float scale = s->grad_scale, decay = s->weight_decay, lr = s->lr;
    const float momentum = s->momentum, old = s->first ? 0 : s->momentum, ahead = s->nesterov ? 1 : 0;
    for (uint32_t i = 0; i < n; i++) {
        float grad = g[i] * scale + decay * w[i];
        float bi = old * b[i] + grad;
        b[i] = bi;
        w[i] -= lr * (ahead ? grad + momentum * bi : bi);
    }
}
