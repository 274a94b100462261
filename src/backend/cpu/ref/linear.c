// LINEAR and EXPERT_LINEAR, reference: the formulas of pack.h over the file's own blocks, one output at a time.
#include "backend/cpu/linear.h"
#include "backend/cpu/experts.h"
#include "backend/cpu/pack_internal.h"

#include <math.h>
#include <string.h>

// acc + (one part of a weight block) * (its activations), in the order that the type's formula fixes.
static float dot_float(const float *w, const float *x, int64_t k, float acc) {
    for (int64_t i = 0; i < k; i++) acc = fmaf(x[i], w[i], acc);
    return acc;
}

static int32_t scaled_dot(const mosa_levels *w, int32_t (*level)(const void *act, int i), const void *act) {
    int32_t sum = 0;
    for (int i = 0; i < w->count; i++) sum += w->scale[i / w->group] * (w->q[i] * level(act, i));
    return sum;
}

static int32_t level_s8_32(const void *act, int i) {
    return ((const mosa_act_s8_32 *)act)->q[i];
}
static int32_t level_s8_256(const void *act, int i) {
    return ((const mosa_act_s8_256 *)act)->q[i];
}
static int32_t level_u8_256(const void *act, int i) {
    return ((const mosa_act_u8_256 *)act)->q[i] - 128;
}

static float dot_s8_32(const mosa_levels *w, const void *act, float acc) {
    const mosa_act_s8_32 *a = act;
    acc = fmaf(w->d, a->d * (float)scaled_dot(w, level_s8_32, act), acc);
    return w->min[0] ? fmaf(-w->dmin, a->d * (float)a->sum, acc) : acc;
}

static float dot_s8_256(const mosa_levels *w, const void *act, float acc) {
    const mosa_act_s8_256 *a = act;
    int32_t mins = 0;
    for (int g = 0; g < 256 / w->group; g++) mins += w->min[g] * (w->group == 32 ? a->sum32[g] : a->sum16[g]);
    float dot = (float)scaled_dot(w, level_s8_256, act);
    return fmaf(a->d, fmaf(w->d, dot, -(w->dmin * (float)mins)), acc);
}

static float dot_u8_256(const mosa_levels *w, const void *act, float acc) {
    const mosa_act_u8_256 *a = act;
    return fmaf(w->d, a->d * (float)scaled_dot(w, level_u8_256, act), acc);
}

static float output_quantised(const mosa_tensor_view *view, int64_t n, const char *act) {
    static float (*const dot[MOSA_ACT_LAYOUTS])(const mosa_levels *, const void *, float) = {
        [MOSA_ACT_S8_32] = dot_s8_32,
        [MOSA_ACT_S8_256] = dot_s8_256,
        [MOSA_ACT_U8_256] = dot_u8_256,
    };
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(view->dtype);
    int64_t k = view->dims[1];
    int layout = mosa_cpu_act_layout(view->dtype, k);
    const char *row = (const char *)view->data + n * (k / traits->block_len * traits->block_bytes);
    mosa_levels levels = {0};
    float acc = 0;
    for (int64_t i = 0; i < k; i += levels.count) {
        int part = (int)(i % traits->block_len) / 32; // only iq4_xs is decoded in parts
        mosa_levels_decode(view->dtype, row + i / traits->block_len * traits->block_bytes, part, &levels);
        acc = dot[layout](&levels, act + mosa_cpu_act_row_bytes(layout, i), acc);
    }
    return acc;
}

static float output_float(const mosa_tensor_view *view, int64_t n, const float *x) {
    enum { CHUNK = 256 };
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(view->dtype);
    int64_t k = view->dims[1];
    const char *row = (const char *)view->data + n * k * traits->block_bytes;
    float w[CHUNK], acc = 0;
    for (int64_t i = 0; i < k; i += CHUNK) {
        int64_t count = k - i < CHUNK ? k - i : CHUNK;
        traits->to_f32(row + i * traits->block_bytes, w, count);
        acc = dot_float(w, x + i, count, acc);
    }
    return acc;
}

void mosa_ref_linear_row(const mosa_tensor_view *w, const void *act, const float *bias, int64_t n_begin, int64_t n_end,
                         float *y) {
    bool floats = mosa_cpu_act_layout(w->dtype, w->dims[1]) == MOSA_ACT_F32;
    for (int64_t n = n_begin; n < n_end; n++) {
        y[n] = floats ? output_float(w, n, act) : output_quantised(w, n, act);
        if (bias) y[n] += bias[n];
    }
}

void mosa_ref_linear(const mosa_cpu_args *args, int thread, int n_threads) {
    const mosa_weight *weight = args->in[1];
    const float *bias = args->node->n_in > 2 ? mosa_cpu_vector(args, 2) : NULL;
    int64_t begin, end;
    mosa_cpu_share(weight->view.dims[0], MOSA_PANEL_ROWS, thread, n_threads, &begin, &end);
    for (int32_t t = 0; t < args->rows; t++) {
        const void *act = (const char *)args->in[0] + t * args->in_stride[0];
        mosa_ref_linear_row(&weight->view, act, bias, begin, end, mosa_cpu_out_row(args, 0, t));
    }
}

void mosa_ref_expert_linear(const mosa_cpu_args *args, int thread, int n_threads) {
    const mosa_tensor_view *stack = &((const mosa_weight *)args->in[1])->view;
    const float *bias = args->node->n_in > 3 ? mosa_cpu_vector(args, 3) : NULL;
    mosa_cpu_experts x = mosa_cpu_experts_of(args);
    int64_t n = stack->dims[1], begin, end;
    mosa_cpu_share(n, MOSA_PANEL_ROWS, thread, n_threads, &begin, &end);
    for (int32_t t = 0; t < args->rows; t++) {
        float *y = mosa_cpu_out_row(args, 0, t);
        for (int64_t s = 0; s < x.slots; s++) {
            int32_t e = mosa_cpu_expert_at(&x, t, s);
            mosa_tensor_view w = mosa_cpu_slice(stack, e);
            mosa_ref_linear_row(&w, mosa_cpu_expert_input(&x, t, s), bias ? bias + e * n : NULL, begin, end, y + s * n);
        }
    }
}
