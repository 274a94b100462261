// Derivatives of norms, activations and biases on AVX2, and the loss of a row of logits: the orders of the reference.
// Missing lanes of a last partial vector add +0, which changes no sum because a lane is never -0.
#include "backend/cpu/avx2/avx2.h"
#include "backend/cpu/avx2/math_avx2.h"
#include "backend/cpu/linear_ce.h"
#include "backend/cpu/ref/ref.h"

#include <string.h>

static inline __m256 load_first(const float *x, int64_t n) { // n < 8: missing lanes 0
    return n >= 8 ? _mm256_loadu_ps(x) : _mm256_maskload_ps(x, first_lanes(n));
}

static inline void store_first(float *x, int64_t n, __m256 v) {
    if (n >= 8)
        _mm256_storeu_ps(x, v);
    else
        _mm256_maskstore_ps(x, first_lanes(n), v);
}

static inline __m256 keep_first(__m256 v, int64_t n) {
    return n >= 8 ? v : _mm256_and_ps(v, _mm256_castsi256_ps(first_lanes(n)));
}

typedef struct lanes {
    __m256 v[4];
} lanes;

static inline lanes no_lanes(void) {
    __m256 zero = _mm256_setzero_ps();
    return (lanes){{zero, zero, zero, zero}};
}

static float sum(const float *x, int64_t n) {
    lanes l = no_lanes();
    for (int64_t i = 0; i < n; i += 8) l.v[i / 8 % 4] = _mm256_add_ps(l.v[i / 8 % 4], load_first(x + i, n - i));
    return sum32(l.v);
}

// Sum of (x - mean)^2; x - mean of missing lanes is dropped.
static float squares(const float *x, float mean, int64_t n) {
    lanes l = no_lanes();
    for (int64_t i = 0; i < n; i += 8) {
        __m256 d = keep_first(_mm256_sub_ps(load_first(x + i, n - i), splat(mean)), n - i);
        l.v[i / 8 % 4] = _mm256_fmadd_ps(d, d, l.v[i / 8 % 4]);
    }
    return sum32(l.v);
}

static float rms_scale(const float *x, float eps, int64_t n) {
    return 1.0f / sqrtf(squares(x, 0, n) / (float)n + eps);
}

static float layer_scale(const float *x, float eps, int64_t n, float *mean) {
    *mean = sum(x, n) / (float)n;
    return 1.0f / sqrtf(squares(x, *mean, n) / (float)n + eps);
}

// dx = r (w dy - x r^2 mean(w dy x))
static void rms_dx(const float *dy, const float *x, const float *w, float eps, int64_t n, float *dx) {
    float r = rms_scale(x, eps, n);
    lanes l = no_lanes();
    for (int64_t i = 0; i < n; i += 8) {
        __m256 g = _mm256_mul_ps(load_first(dy + i, n - i), load_first(w + i, n - i));
        l.v[i / 8 % 4] = _mm256_fmadd_ps(g, load_first(x + i, n - i), l.v[i / 8 % 4]);
    }
    float pull = sum32(l.v) / (float)n * r * r;
    for (int64_t i = 0; i < n; i += 8) {
        __m256 g = _mm256_mul_ps(load_first(dy + i, n - i), load_first(w + i, n - i));
        g = _mm256_sub_ps(g, _mm256_mul_ps(load_first(x + i, n - i), splat(pull)));
        store_first(dx + i, n - i, _mm256_mul_ps(splat(r), g));
    }
}

// dx = r (w dy - mean(w dy) - xhat mean(w dy xhat)), xhat = (x - mean) r
static void layer_dx(const float *dy, const float *x, const float *w, float eps, int64_t n, float *dx) {
    float mean, r = layer_scale(x, eps, n, &mean);
    lanes plain = no_lanes(), along = no_lanes();
    for (int64_t i = 0; i < n; i += 8) {
        __m256 g = _mm256_mul_ps(load_first(dy + i, n - i), load_first(w + i, n - i));
        __m256 xhat = _mm256_mul_ps(_mm256_sub_ps(load_first(x + i, n - i), splat(mean)), splat(r));
        plain.v[i / 8 % 4] = _mm256_add_ps(plain.v[i / 8 % 4], g);
        along.v[i / 8 % 4] = _mm256_fmadd_ps(g, keep_first(xhat, n - i), along.v[i / 8 % 4]);
    }
    float level = sum32(plain.v) / (float)n, pull = sum32(along.v) / (float)n;
    for (int64_t i = 0; i < n; i += 8) {
        __m256 g = _mm256_mul_ps(load_first(dy + i, n - i), load_first(w + i, n - i));
        __m256 xhat = _mm256_mul_ps(_mm256_sub_ps(load_first(x + i, n - i), splat(mean)), splat(r));
        g = _mm256_sub_ps(_mm256_sub_ps(g, splat(level)), _mm256_mul_ps(xhat, splat(pull)));
        store_first(dx + i, n - i, _mm256_mul_ps(splat(r), g));
    }
}

typedef void (*norm_dx_fn)(const float *dy, const float *x, const float *w, float eps, int64_t n, float *dx);

static void each_group(const mosa_cpu_args *args, int thread, int n_threads, norm_dx_fn fn) {
    const float *w = mosa_cpu_vector(args, 2);
    int64_t columns = mosa_cpu_columns(args, 0), begin, end;
    int64_t group = args->node->attrs.norm.group ? args->node->attrs.norm.group : columns;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++)
        for (int64_t c = 0; c < columns; c += group)
            fn(mosa_cpu_in_row(args, 0, t) + c, mosa_cpu_in_row(args, 1, t) + c, w, args->node->attrs.norm.eps, group,
               mosa_cpu_out_row(args, 0, t) + c);
}

void mosa_avx2_rms_norm_dx(const mosa_cpu_args *args, int thread, int n_threads) {
    each_group(args, thread, n_threads, rms_dx);
}

void mosa_avx2_layer_norm_dx(const mosa_cpu_args *args, int thread, int n_threads) {
    each_group(args, thread, n_threads, layer_dx);
}

// A thread takes columns and finds every row's scale for itself.
static void norm_dw(const mosa_cpu_args *args, int thread, int n_threads, bool centred) {
    int64_t columns = mosa_cpu_columns(args, 0), n = args->node->attrs2.grad.elements, begin, end;
    float eps = args->node->attrs.norm.eps, *grad = mosa_cpu_grad(args, 2);
    mosa_cpu_share(n, 16, thread, n_threads, &begin, &end);
    for (int64_t t = 0; t < args->rows && begin < end; t++)
        for (int64_t c = 0; c < columns; c += n) {
            const float *dy = mosa_cpu_in_row(args, 0, t) + c, *x = mosa_cpu_in_row(args, 1, t) + c;
            float mean = 0, r = centred ? layer_scale(x, eps, n, &mean) : rms_scale(x, eps, n);
            for (int64_t i = begin; i < end; i += 8) {
                __m256 xhat = _mm256_mul_ps(_mm256_sub_ps(load_first(x + i, end - i), splat(mean)), splat(r));
                __m256 g = load_first(grad + i, end - i);
                store_first(grad + i, end - i, _mm256_fmadd_ps(load_first(dy + i, end - i), xhat, g));
            }
        }
}

void mosa_avx2_rms_norm_dw(const mosa_cpu_args *args, int thread, int n_threads) {
    norm_dw(args, thread, n_threads, false);
}

void mosa_avx2_layer_norm_dw(const mosa_cpu_args *args, int thread, int n_threads) {
    norm_dw(args, thread, n_threads, true);
}

// Columns that are summed in registers, and how many rows ahead they are fetched: a row's share is too short for the
// processor to do it.
enum { STRIP = 64, AHEAD = 12 };

void mosa_avx2_rows_sum(const mosa_cpu_args *args, int thread, int n_threads) {
    int64_t n = args->node->attrs2.grad.elements, columns = mosa_cpu_columns(args, 0), begin, end;
    float *grad = mosa_cpu_grad(args, 1);
    mosa_cpu_share(n, 16, thread, n_threads, &begin, &end);
    for (int64_t strip = begin; strip < end; strip += STRIP) {
        int64_t width = end - strip < STRIP ? end - strip : STRIP;
        __m256 sums[STRIP / 8];
        for (int i = 0; i < STRIP / 8; i++)
            sums[i] = width > 8 * i ? load_first(grad + strip + 8 * i, width - 8 * i) : _mm256_setzero_ps();
        for (int64_t t = 0; t < args->rows; t++) {
            const char *ahead = (const char *)(mosa_cpu_in_row(args, 0, t) + strip) + AHEAD * args->in_stride[0];
            for (int line = 0; line < STRIP / 16; line++) __builtin_prefetch(ahead + 64 * line);
            for (int64_t group = 0; group < columns; group += n) {
                const float *dy = mosa_cpu_in_row(args, 0, t) + group + strip;
                for (int i = 0; i < STRIP / 8 && width > 8 * i; i++)
                    sums[i] = _mm256_add_ps(sums[i], load_first(dy + 8 * i, width - 8 * i));
            }
        }
        for (int i = 0; i < STRIP / 8 && width > 8 * i; i++) store_first(grad + strip + 8 * i, width - 8 * i, sums[i]);
    }
}

// ---- activations

static inline __m256 sigmoid8(__m256 x) {
    __m256 one = splat(1.0f);
    return _mm256_div_ps(one, _mm256_add_ps(one, exp8(_mm256_xor_ps(x, splat(-0.0f)))));
}

static inline __m256 gelu_tanh_slope8(__m256 x) {
    __m256 one = splat(1.0f), square = _mm256_mul_ps(x, x);
    __m256 cubic = _mm256_fmadd_ps(_mm256_mul_ps(splat(MOSA_GELU_TANH_B), square), x, x);
    __m256 u = _mm256_mul_ps(splat(MOSA_GELU_TANH_A), cubic);
    __m256 s = _mm256_div_ps(one, _mm256_add_ps(one, exp8(_mm256_mul_ps(splat(-2.0f), u))));
    __m256 du = _mm256_mul_ps(splat(MOSA_GELU_TANH_A), _mm256_fmadd_ps(splat(3.0f * MOSA_GELU_TANH_B), square, one));
    __m256 rest = _mm256_mul_ps(_mm256_mul_ps(_mm256_mul_ps(splat(2.0f), x), s), _mm256_sub_ps(one, s));
    return _mm256_add_ps(s, _mm256_mul_ps(rest, du));
}

static inline __m256 slope8(mosa_act kind, __m256 x) {
    __m256 one = splat(1.0f);
    switch (kind) {
    case MOSA_ACT_SILU: {
        __m256 s = sigmoid8(x);
        return _mm256_mul_ps(s, _mm256_add_ps(one, _mm256_mul_ps(x, _mm256_sub_ps(one, s))));
    }
    case MOSA_ACT_GELU: {
        __m256 e = exp8(_mm256_mul_ps(splat(-0.5f), _mm256_mul_ps(x, x)));
        __m256 bell = _mm256_mul_ps(_mm256_mul_ps(x, splat(0.3989422804014327f)), e);
        __m256 share = _mm256_add_ps(one, erf8(_mm256_mul_ps(x, splat(MOSA_GELU_SQRT_HALF))));
        return _mm256_add_ps(_mm256_mul_ps(splat(0.5f), share), bell);
    }
    case MOSA_ACT_GELU_TANH:
        return gelu_tanh_slope8(x);
    case MOSA_ACT_RELU:
        return _mm256_and_ps(one, _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GT_OQ));
    case MOSA_ACT_SIGMOID: {
        __m256 s = sigmoid8(x);
        return _mm256_mul_ps(s, _mm256_sub_ps(one, s));
    }
    case MOSA_ACT_TANH: {
        __m256 y = tanh8(x);
        return _mm256_sub_ps(one, _mm256_mul_ps(y, y));
    }
    case MOSA_ACT_CLAMPED_SWIGLU:
        break;
    }
    return one;
}

// ACT_DX (up NULL): dgate = dy act'(gate). GATED_ACT_DX: dgate = dy (act'(gate) up), dup = dy act(gate).
typedef struct act_rows {
    const float *dy, *gate, *up;
    float *dgate, *dup;
    int64_t n;
} act_rows;

static inline __attribute__((always_inline)) void act_loop(mosa_act kind, const act_rows *row) {
    for (int64_t i = 0; i < row->n; i += 8) {
        int64_t left = row->n - i;
        __m256 x = load_first(row->gate + i, left), dy = load_first(row->dy + i, left), slope = slope8(kind, x);
        if (row->up) {
            store_first(row->dup + i, left, _mm256_mul_ps(dy, act8(kind, x)));
            slope = _mm256_mul_ps(slope, load_first(row->up + i, left));
        }
        store_first(row->dgate + i, left, _mm256_mul_ps(dy, slope));
    }
}

static void act_row(mosa_act kind, const act_rows *row) {
    switch (kind) {
    case MOSA_ACT_SILU:
        act_loop(MOSA_ACT_SILU, row);
        break;
    case MOSA_ACT_GELU:
        act_loop(MOSA_ACT_GELU, row);
        break;
    case MOSA_ACT_GELU_TANH:
        act_loop(MOSA_ACT_GELU_TANH, row);
        break;
    case MOSA_ACT_RELU:
        act_loop(MOSA_ACT_RELU, row);
        break;
    case MOSA_ACT_SIGMOID:
        act_loop(MOSA_ACT_SIGMOID, row);
        break;
    case MOSA_ACT_TANH:
        act_loop(MOSA_ACT_TANH, row);
        break;
    case MOSA_ACT_CLAMPED_SWIGLU: // the reference's
        break;
    }
}

void mosa_avx2_act_dx(const mosa_cpu_args *args, int thread, int n_threads) {
    int64_t begin, end;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        act_rows row = {.dy = mosa_cpu_in_row(args, 0, t), .gate = mosa_cpu_in_row(args, 1, t)};
        row.dgate = mosa_cpu_out_row(args, 0, t);
        row.n = mosa_cpu_columns(args, 0);
        act_row(args->node->attrs.act.kind, &row);
    }
}

void mosa_avx2_gated_act_dx(const mosa_cpu_args *args, int thread, int n_threads) {
    int64_t begin, end;
    if (args->node->attrs.act.kind == MOSA_ACT_CLAMPED_SWIGLU) {
        mosa_ref_gated_act_dx(args, thread, n_threads);
        return;
    }
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        act_rows row = {.dy = mosa_cpu_in_row(args, 0, t), .gate = mosa_cpu_in_row(args, 1, t)};
        row.up = mosa_cpu_in_row(args, 2, t);
        row.dgate = mosa_cpu_out_row(args, 0, t);
        row.dup = mosa_cpu_out_row(args, 1, t);
        row.n = mosa_cpu_columns(args, 0);
        act_row(args->node->attrs.act.kind, &row);
    }
}

// ---- the loss of a row

static float shape_logits(const mosa_attrs *attrs, float *z, int64_t n) { // returns the largest
    float scale = attrs->linear_ce.scale, cap = attrs->linear_ce.softcap, lane[8], max;
    float inverse = cap > 0 ? 1 / cap : 0;
    for (int64_t i = 0; i < n && (scale != 1 || cap > 0); i += 8) {
        __m256 v = load_first(z + i, n - i);
        if (scale != 1) v = _mm256_mul_ps(v, splat(scale));
        if (cap > 0) v = _mm256_mul_ps(tanh8(_mm256_mul_ps(v, splat(inverse))), splat(cap));
        store_first(z + i, n - i, v);
    }
    max = z[0];
    __m256 most = splat(max);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) most = _mm256_max_ps(_mm256_loadu_ps(z + i), most);
    _mm256_storeu_ps(lane, most);
    for (int j = 0; j < 8; j++) max = lane[j] > max ? lane[j] : max;
    for (; i < n; i++) max = z[i] > max ? z[i] : max;
    return max;
}

static int64_t first_equal(const float *z, int64_t n, float value) { // the last element when none is
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        int equal = _mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(z + i), splat(value), _CMP_EQ_OQ));
        if (equal) return i + __builtin_ctz((unsigned)equal);
    }
    while (i + 1 < n && z[i] != value) i++;
    return i < n ? i : n - 1;
}

void mosa_avx2_linear_ce_row(const mosa_attrs *attrs, float *z, int64_t vocab, int32_t label, float coef,
                             float *stats) {
    float scale = attrs->linear_ce.scale, cap = attrs->linear_ce.softcap, at_label;
    float max = shape_logits(attrs, z, vocab);
    lanes l = no_lanes(), spread = no_lanes();
    for (int64_t i = 0; i < vocab; i += 8) {
        __m256 e = exp8(_mm256_sub_ps(load_first(z + i, vocab - i), splat(max)));
        l.v[i / 8 % 4] = _mm256_add_ps(l.v[i / 8 % 4], keep_first(e, vocab - i));
    }
    float total = sum32(l.v), log_sum = mosa_log_of(total), inverse = 1 / total;
    stats[0] = z[label] - max - log_sum;
    stats[1] = max + log_sum;
    stats[3] = first_equal(z, vocab, max) == label;
    at_label = z[label];
    for (int64_t i = 0; i < vocab; i += 8) {
        __m256 v = load_first(z + i, vocab - i), far = _mm256_sub_ps(v, splat(max));
        __m256 p = _mm256_mul_ps(exp8(far), splat(inverse)), slope = splat(scale);
        spread.v[i / 8 % 4] =
            _mm256_fmadd_ps(keep_first(p, vocab - i), keep_first(far, vocab - i), spread.v[i / 8 % 4]);
        if (cap > 0) {
            __m256 t = _mm256_div_ps(v, splat(cap));
            slope = _mm256_mul_ps(slope, _mm256_sub_ps(splat(1.0f), _mm256_mul_ps(t, t)));
        }
        store_first(z + i, vocab - i, _mm256_mul_ps(_mm256_mul_ps(splat(coef), p), slope));
    }
    stats[2] = log_sum - sum32(spread.v);
    float p = mosa_expf(at_label - max) * inverse, slope = scale;
    if (cap > 0) slope *= 1 - at_label / cap * (at_label / cap);
    z[label] = coef * (p - 1) * slope;
}

// ---- ROUND

static inline __m256 round8(__m256 x, bool f16) {
    if (f16) {
        x = _mm256_max_ps(splat(-65504.0f), _mm256_min_ps(splat(65504.0f), x));
        return _mm256_cvtph_ps(_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    }
    __m256i bits = _mm256_castps_si256(x), odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    rounded = _mm256_blendv_epi8(rounded, _mm256_or_si256(bits, _mm256_set1_epi32(0x400000)), nan);
    return _mm256_castsi256_ps(_mm256_and_si256(rounded, _mm256_set1_epi32((int)0xffff0000u)));
}

void mosa_avx2_round(const mosa_cpu_args *args, int thread, int n_threads) {
    int64_t columns = mosa_cpu_columns(args, 0), begin, end;
    bool f16 = args->node->attrs.round.dtype == MOSA_F16;
    mosa_cpu_share(args->rows, 1, thread, n_threads, &begin, &end);
    for (int64_t t = begin; t < end; t++) {
        const float *x = mosa_cpu_in_row(args, 0, t);
        float *y = mosa_cpu_out_row(args, 0, t);
        for (int64_t i = 0; i < columns; i += 8)
            store_first(y + i, columns - i, round8(load_first(x + i, columns - i), f16));
    }
}
