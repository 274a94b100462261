// Derivatives of dense, norm, elementwise and rotary ops, reference.
//
// Sums over rows run in order of rows, each product added by fused multiply-add; where a thread takes a share of a
// gradient's columns or rows, every element of it is summed by that thread alone. So a result depends on no number of
// threads. Row sums of the norms run in 32 lanes, as those of the norms themselves.
#include "backend/cpu/math.h"
#include "backend/cpu/ref/ref.h"

#include <string.h>

enum { DECODE = 4096 }; // columns of a matrix that are decoded at a time, a multiple of every block

// w[row, begin .. begin + count) as f32.
static void decode(const mosa_tensor_view *w, int64_t row, int64_t begin, int64_t count, float *out) {
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(w->dtype);
    const char *at = w->data;
    at += (row * w->dims[1] + begin) / traits->block_len * traits->block_bytes;
    traits->to_f32(at, out, count);
}

void mosa_ref_linear_dx(const mosa_cpu_args *args, int thread, int n_threads) {
    const mosa_tensor_view *w = &((const mosa_weight *)args->in[1])->view;
    float *decoded = args->scratch;
    int64_t begin, end, k = w->dims[1];
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) memset(mosa_cpu_out_row(args, 0, t), 0, (size_t)k * sizeof(float));
    for (int64_t at = 0; at < k && begin < end; at += DECODE) {
        int64_t count = k - at < DECODE ? k - at : DECODE;
        for (int64_t n = 0; n < w->dims[0]; n++) {
            decode(w, n, at, count, decoded);
            for (int64_t t = begin; t < end; t++) {
                float *dx = mosa_cpu_out_row(args, 0, t) + at, dy = mosa_cpu_in_row(args, 0, t)[n];
                for (int64_t i = 0; i < count; i++) dx[i] = fmaf(dy, decoded[i], dx[i]);
            }
        }
    }
}

void mosa_ref_linear_dw(const mosa_cpu_args *args, int thread, int n_threads) {
    int64_t begin, end, k = mosa_cpu_columns(args, 1);
    float *grad = mosa_cpu_grad(args, 2);
    mosa_cpu_share(mosa_cpu_columns(args, 0), 1, thread, n_threads, &begin, &end);
    for (int64_t n = begin; n < end; n++) {
        float *dw = grad + n * k;
        for (int64_t t = 0; t < args->rows; t++) {
            const float *x = mosa_cpu_in_row(args, 1, t);
            float dy = mosa_cpu_in_row(args, 0, t)[n];
            for (int64_t i = 0; i < k; i++) dw[i] = fmaf(dy, x[i], dw[i]);
        }
    }
}

void mosa_ref_lora_add(const mosa_cpu_args *args, int thread, int n_threads) {
    const mosa_tensor_view *b = &((const mosa_weight *)args->in[2])->view;
    float *decoded = args->scratch;
    int64_t begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t n = 0; n < b->dims[0] && begin < end; n++) {
        decode(b, n, 0, b->dims[1], decoded);
        for (int64_t t = begin; t < end; t++) {
            const float *u = mosa_cpu_in_row(args, 1, t);
            float acc = mosa_cpu_in_row(args, 0, t)[n];
            for (int64_t j = 0; j < b->dims[1]; j++) acc = fmaf(u[j], decoded[j], acc);
            mosa_cpu_out_row(args, 0, t)[n] = acc;
        }
    }
}

void mosa_ref_rows_sum(const mosa_cpu_args *args, int thread, int n_threads) {
    int64_t n = args->node->attrs2.grad.elements, columns = mosa_cpu_columns(args, 0), begin, end;
    float *grad = mosa_cpu_grad(args, 1);
    mosa_cpu_share(n, 1, thread, n_threads, &begin, &end);
    for (int64_t t = 0; t < args->rows; t++) {
        const float *dy = mosa_cpu_in_row(args, 0, t);
        for (int64_t group = 0; group < columns; group += n)
            for (int64_t i = begin; i < end; i++) grad[i] += dy[group + i];
    }
}

void mosa_ref_embed_dw(const mosa_cpu_args *args, int thread, int n_threads) {
    int64_t columns = mosa_cpu_columns(args, 0), begin, end;
    const int32_t *ids = args->in[1];
    float *grad = mosa_cpu_grad(args, 2);
    mosa_cpu_share(columns, 16, thread, n_threads, &begin, &end);
    for (int64_t t = 0; t < args->rows; t++) {
        const float *dy = mosa_cpu_in_row(args, 0, t);
        float *to = grad + ids[t] * columns;
        for (int64_t i = begin; i < end; i++) to[i] += dy[i];
    }
}

// args->rows counts the rows of the result; the rows of dy are those of the index.
void mosa_ref_scatter_rows(const mosa_cpu_args *args, int thread, int n_threads) {
    int64_t columns = mosa_cpu_columns(args, 0), begin, end;
    int64_t from = mosa_graph_value(args->graph, args->node->in[0])->shape.dim[0];
    const int32_t *index = args->in[1];
    if (from == MOSA_ROWS) from = args->batch->rows;
    mosa_cpu_share(columns, 16, thread, n_threads, &begin, &end);
    for (int64_t t = 0; t < args->rows; t++)
        memset(mosa_cpu_out_row(args, 0, t) + begin, 0, (size_t)(end - begin) * sizeof(float));
    for (int64_t r = 0; r < from; r++) {
        const float *dy = mosa_cpu_in_row(args, 0, r);
        float *dx = mosa_cpu_out_row(args, 0, index[r]);
        for (int64_t i = begin; i < end; i++) dx[i] += dy[i];
    }
}

// ---- norms

static float dot(const float *a, const float *b, int64_t n) {
    float lane[32] = {0};
    for (int64_t i = 0; i < n; i++) lane[i % 32] = fmaf(a[i], b[i], lane[i % 32]);
    return mosa_sum32(lane);
}

static float sum(const float *x, int64_t n) {
    float lane[32] = {0};
    for (int64_t i = 0; i < n; i++) lane[i % 32] += x[i];
    return mosa_sum32(lane);
}

static float centred_squares(const float *x, float mean, int64_t n) {
    float lane[32] = {0};
    for (int64_t i = 0; i < n; i++) lane[i % 32] = fmaf(x[i] - mean, x[i] - mean, lane[i % 32]);
    return mosa_sum32(lane);
}

static float rms_scale(const float *x, float eps, int64_t n) {
    return 1.0f / sqrtf(dot(x, x, n) / (float)n + eps);
}

static float layer_scale(const float *x, float eps, int64_t n, float *mean) {
    *mean = sum(x, n) / (float)n;
    return 1.0f / sqrtf(centred_squares(x, *mean, n) / (float)n + eps);
}

// r = 1 / rms: dx = r (w dy - x r^2 mean(w dy x))
static void rms_dx(const float *dy, const float *x, const float *w, float eps, int64_t n, float *dx) {
    float r = rms_scale(x, eps, n), lane[32] = {0};
    for (int64_t i = 0; i < n; i++) lane[i % 32] = fmaf(dy[i] * w[i], x[i], lane[i % 32]);
    float pull = mosa_sum32(lane) / (float)n * r * r;
    for (int64_t i = 0; i < n; i++) dx[i] = r * (dy[i] * w[i] - x[i] * pull);
}

// xhat = (x - mean) r: dx = r (w dy - mean(w dy) - xhat mean(w dy xhat))
static void layer_dx(const float *dy, const float *x, const float *w, float eps, int64_t n, float *dx) {
    float mean, r = layer_scale(x, eps, n, &mean), plain[32] = {0}, along[32] = {0};
    for (int64_t i = 0; i < n; i++) {
        float g = dy[i] * w[i];
        plain[i % 32] += g;
        along[i % 32] = fmaf(g, (x[i] - mean) * r, along[i % 32]);
    }
    float level = mosa_sum32(plain) / (float)n, pull = mosa_sum32(along) / (float)n;
    for (int64_t i = 0; i < n; i++) dx[i] = r * (dy[i] * w[i] - level - (x[i] - mean) * r * pull);
}

// Below eps the length is a constant.
static void l2_dx(const float *dy, const float *x, const float *w, float eps, int64_t n, float *dx) {
    (void)w;
    float length = sqrtf(dot(x, x, n)), r = 1.0f / (length > eps ? length : eps);
    float pull = length > eps ? dot(dy, x, n) * r * r : 0;
    for (int64_t i = 0; i < n; i++) dx[i] = r * (dy[i] - x[i] * pull);
}

typedef void (*norm_dx_fn)(const float *dy, const float *x, const float *w, float eps, int64_t n, float *dx);

static void each_group(const mosa_cpu_args *args, int thread, int n_threads, const float *w, norm_dx_fn fn) {
    int64_t columns = mosa_cpu_columns(args, 0), begin, end;
    int64_t group = args->node->attrs.norm.group ? args->node->attrs.norm.group : columns;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        for (int64_t c = 0; c < columns; c += group)
            fn(mosa_cpu_in_row(args, 0, t) + c, mosa_cpu_in_row(args, 1, t) + c, w, args->node->attrs.norm.eps, group,
               mosa_cpu_out_row(args, 0, t) + c);
}

void mosa_ref_rms_norm_dx(const mosa_cpu_args *args, int thread, int n_threads) {
    each_group(args, thread, n_threads, mosa_cpu_vector(args, 2), rms_dx);
}

void mosa_ref_layer_norm_dx(const mosa_cpu_args *args, int thread, int n_threads) {
    each_group(args, thread, n_threads, mosa_cpu_vector(args, 2), layer_dx);
}

void mosa_ref_l2_norm_dx(const mosa_cpu_args *args, int thread, int n_threads) {
    each_group(args, thread, n_threads, NULL, l2_dx);
}

// dw[i] += dy[i] * xhat[i] over rows and groups. A thread takes columns and finds every row's scale for itself.
static void norm_dw(const mosa_cpu_args *args, int thread, int n_threads, bool centred) {
    int64_t columns = mosa_cpu_columns(args, 0), n = args->node->attrs2.grad.elements, begin, end;
    float eps = args->node->attrs.norm.eps, *grad = mosa_cpu_grad(args, 2);
    mosa_cpu_share(n, 16, thread, n_threads, &begin, &end);
    for (int64_t t = 0; t < args->rows && begin < end; t++)
        for (int64_t c = 0; c < columns; c += n) {
            const float *dy = mosa_cpu_in_row(args, 0, t) + c, *x = mosa_cpu_in_row(args, 1, t) + c;
            float mean = 0, r = centred ? layer_scale(x, eps, n, &mean) : rms_scale(x, eps, n);
            for (int64_t i = begin; i < end; i++) grad[i] = fmaf(dy[i], (x[i] - mean) * r, grad[i]);
        }
}

void mosa_ref_rms_norm_dw(const mosa_cpu_args *args, int thread, int n_threads) {
    norm_dw(args, thread, n_threads, false);
}

void mosa_ref_layer_norm_dw(const mosa_cpu_args *args, int thread, int n_threads) {
    norm_dw(args, thread, n_threads, true);
}

// ---- elementwise

static float gelu_tanh_slope(float x) { // of x / (1 + exp(-2u))
    float u = MOSA_GELU_TANH_A * fmaf(MOSA_GELU_TANH_B * (x * x), x, x), s = 1.0f / (1.0f + mosa_expf(-2.0f * u));
    float du = MOSA_GELU_TANH_A * fmaf(3.0f * MOSA_GELU_TANH_B, x * x, 1.0f);
    return s + 2.0f * x * s * (1.0f - s) * du;
}

float mosa_cpu_act_slope(mosa_act kind, float x) {
    switch (kind) {
    case MOSA_ACT_SILU: {
        float s = 1.0f / (1.0f + mosa_expf(-x));
        return s * (1.0f + x * (1.0f - s));
    }
    case MOSA_ACT_GELU: // Phi(x) + x phi(x)
        return 0.5f * (1.0f + mosa_erff(x * MOSA_GELU_SQRT_HALF)) +
               x * 0.3989422804014327f * mosa_expf(-0.5f * (x * x));
    case MOSA_ACT_GELU_TANH:
        return gelu_tanh_slope(x);
    case MOSA_ACT_RELU:
        return x > 0 ? 1 : 0;
    case MOSA_ACT_SIGMOID: {
        float s = 1.0f / (1.0f + mosa_expf(-x));
        return s * (1.0f - s);
    }
    case MOSA_ACT_TANH: {
        float y = mosa_tanhf(x);
        return 1.0f - y * y;
    }
    case MOSA_ACT_CLAMPED_SWIGLU: // takes two numbers: below
        break;
    }
    return 1;
}

void mosa_ref_act_dx(const mosa_cpu_args *args, int thread, int n_threads) {
    int64_t columns = mosa_cpu_columns(args, 0), begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *dy = mosa_cpu_in_row(args, 0, t), *x = mosa_cpu_in_row(args, 1, t);
        float *dx = mosa_cpu_out_row(args, 0, t);
        for (int64_t i = 0; i < columns; i++) dx[i] = dy[i] * mosa_cpu_act_slope(args->node->attrs.act.kind, x[i]);
    }
}

// y = (u + 1) g sigmoid(a g) of the clamped numbers; where a number is clamped it has no slope.
static void clamped_slopes(float gate, float up, float limit, float *dgate, float *dup) {
    float g = gate > limit ? limit : gate, u = up > limit ? limit : up < -limit ? -limit : up;
    float s = 1.0f / (1.0f + mosa_expf(g * -MOSA_SWIGLU_ALPHA));
    *dgate = gate > limit ? 0 : (u + 1.0f) * s * (1.0f + MOSA_SWIGLU_ALPHA * g * (1.0f - s));
    *dup = up > limit || up < -limit ? 0 : g * s;
}

void mosa_ref_gated_act_dx(const mosa_cpu_args *args, int thread, int n_threads) {
    int64_t columns = mosa_cpu_columns(args, 0), begin, end;
    mosa_act kind = args->node->attrs.act.kind;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *dy = mosa_cpu_in_row(args, 0, t);
        const float *gate = mosa_cpu_in_row(args, 1, t), *up = mosa_cpu_in_row(args, 2, t);
        float *dgate = mosa_cpu_out_row(args, 0, t), *dup = mosa_cpu_out_row(args, 1, t);
        for (int64_t i = 0; i < columns; i++) {
            float a, b;
            if (kind == MOSA_ACT_CLAMPED_SWIGLU) {
                clamped_slopes(gate[i], up[i], args->node->attrs.act.limit, &a, &b);
            } else {
                a = mosa_cpu_act_slope(kind, gate[i]) * up[i];
                b = mosa_actf(kind, gate[i]);
            }
            dgate[i] = dy[i] * a;
            dup[i] = dy[i] * b;
        }
    }
}

void mosa_ref_unslice(const mosa_cpu_args *args, int thread, int n_threads) {
    int64_t width = args->node->attrs2.slice.count, count = args->node->attrs.slice.count, begin, end;
    int64_t group = args->node->attrs.slice.group ? args->node->attrs.slice.group : width;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *dy = mosa_cpu_in_row(args, 0, t);
        float *dx = mosa_cpu_out_row(args, 0, t);
        memset(dx, 0, (size_t)width * sizeof *dx);
        for (int64_t at = 0; at < width; at += group, dy += count)
            memcpy(dx + at + args->node->attrs.slice.begin, dy, (size_t)count * sizeof *dx);
    }
}

static void rope_dx_head(const mosa_attrs *attrs, const float *dy, const float *table, float *dx) {
    int half = attrs->rope.rot / 2;
    bool halves = attrs->rope.style == MOSA_ROPE_HALF;
    for (int i = 0; i < half; i++) {
        int first = halves ? i : 2 * i, second = halves ? i + half : 2 * i + 1;
        float a = dy[first], b = dy[second], cosine = table[i], sine = table[half + i];
        dx[first] = a * cosine + b * sine;
        dx[second] = b * cosine - a * sine;
    }
    for (int i = attrs->rope.rot; i < attrs->rope.head_width; i++) dx[i] = dy[i];
}

void mosa_ref_rope_dx(const mosa_cpu_args *args, int thread, int n_threads) {
    const mosa_attrs *attrs = &args->node->attrs;
    int64_t columns = mosa_cpu_columns(args, 0), begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        for (int64_t c = 0; c < columns; c += attrs->rope.head_width)
            rope_dx_head(attrs, mosa_cpu_in_row(args, 0, t) + c, mosa_cpu_in_row(args, 1, t),
                         mosa_cpu_out_row(args, 0, t) + c);
}
