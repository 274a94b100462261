// The loss over a large vocabulary, chunk by chunk of rows, so that no more logits exist than those of one chunk.
//
// Row r of the chunk's logits belongs to row (chunk * attrs.chunk + r) of the batch. Log-probabilities follow the order
// of mosa_log_sum (math.h), as the sampler's do. dh sums over the vocabulary in order, dw over rows in order, each
// element by one thread. The fast forms multiply runs of rows that count, and the few between them whose dz is 0.
#include "backend/cpu/linear_ce.h"

#include "backend/cpu/math.h"
#include "backend/cpu/pack_internal.h"

#include <string.h>

typedef struct chunk {
    const mosa_cpu_args *args;
    int64_t begin, end; // rows of the batch
    int64_t vocab, width;
    const int32_t *labels;
    int step; // 0, 1, 2
} chunk;

int mosa_cpu_linear_ce_phases(const mosa_cpu_args *args) {
    int size = args->node->attrs.linear_ce.chunk;
    return 3 * ((args->rows + size - 1) / size);
}

static chunk open_chunk(const mosa_cpu_args *args) {
    int64_t size = args->node->attrs.linear_ce.chunk;
    const mosa_tensor_view *w = &((const mosa_weight *)args->in[1])->view;
    chunk c = {.args = args, .begin = args->phase / 3 * size, .step = args->phase % 3};
    c.end = c.begin + size < args->rows ? c.begin + size : args->rows;
    c.vocab = w->dims[0];
    c.width = w->dims[1];
    c.labels = args->in[2];
    return c;
}

static float *logits_of(const chunk *c, int64_t row) {
    return mosa_cpu_out_row(c->args, 2, row - c->begin);
}

static float coef_of(const chunk *c, int64_t row) {
    return c->labels[row] < 0 ? 0 : *mosa_cpu_in_row(c->args, 3, row);
}

// The operand that LINEAR reads: packed rows where it wants them.
static const void *activations(const chunk *c, int64_t row) {
    return mosa_cpu_in_row(c->args, c->args->node->n_in > 5 ? 5 : 0, row);
}

static void reference_logits(const chunk *c, int thread, int n_threads) {
    const mosa_weight *weight = c->args->in[1];
    int64_t begin, end;
    mosa_cpu_share(c->vocab, MOSA_PANEL_ROWS, thread, n_threads, &begin, &end);
    for (int64_t t = c->begin; t < c->end; t++)
        if (c->labels[t] >= 0) mosa_ref_linear_row(&weight->view, activations(c, t), NULL, begin, end, logits_of(c, t));
}

static void fast_logits(const chunk *c, int thread, int n_threads, mosa_linear_rows_fn fn) {
    const mosa_weight *weight = c->args->in[1];
    const uint8_t *act[MOSA_LINEAR_BLOCK];
    float *y[MOSA_LINEAR_BLOCK];
    mosa_linear_rows job = {.dtype = weight->view.dtype, .n = c->vocab, .k = c->width, .packed = weight->packed};
    mosa_cpu_share((job.n - 1) / MOSA_PANEL_ROWS + 1, 1, thread, n_threads, &job.panel_begin, &job.panel_end);
    job.act = act;
    job.y = y;
    job.scratch = c->args->scratch;
    for (int64_t t = c->begin; t < c->end; t++) {
        if (c->labels[t] >= 0) {
            act[job.rows] = activations(c, t);
            y[job.rows++] = logits_of(c, t);
        }
        if (job.rows == 0 || (job.rows < MOSA_LINEAR_BLOCK && t + 1 < c->end)) continue;
        fn(&job);
        job.rows = 0;
    }
}

// ---- runs of rows that count

enum { GAP = 12 }; // rows that do not count and are worth less than to begin another product

typedef struct run {
    int64_t begin, end; // rows of the batch
} run;

// The next run at or behind `from`; begin == end: there is none.
static run next_run(const chunk *c, int64_t from, bool gradient) {
    run r = {from, from};
    for (int64_t t = from; t < c->end && (r.end == r.begin || t - r.end <= GAP); t++) {
        if (gradient ? coef_of(c, t) == 0 : c->labels[t] < 0) continue;
        if (r.end == r.begin) r.begin = t;
        r.end = t + 1;
    }
    if (r.end == from) r.begin = from;
    return r;
}

// z of the run from the matrix as its file holds it.
static void multiply_logits(const chunk *c, int thread, int n_threads, mosa_gemm_fn fn) {
    const mosa_tensor_view *w = &((const mosa_weight *)c->args->in[1])->view;
    for (run r = next_run(c, c->begin, false); r.begin < r.end; r = next_run(c, r.end, false)) {
        mosa_gemm g = {.m = r.end - r.begin, .n = c->vocab, .k = c->width, .alpha = 1, .b_transposed = true};
        g.a = mosa_cpu_in_row(c->args, 0, r.begin);
        g.lda = c->args->in_stride[0] / (int64_t)sizeof(float);
        g.b = w->data;
        g.b_dtype = w->dtype;
        g.b_row_bytes = w->bytes / (size_t)c->vocab;
        g.c = logits_of(c, r.begin);
        g.ldc = c->args->out_stride[2] / (int64_t)sizeof(float);
        g.scratch = c->args->scratch;
        fn(&g, thread, n_threads);
    }
}

static void multiply_dh(const chunk *c, int thread, int n_threads, mosa_gemm_fn fn) {
    const mosa_tensor_view *w = &((const mosa_weight *)c->args->in[1])->view;
    int64_t begin, end;
    mosa_cpu_share(c->width, 16, thread, n_threads, &begin, &end);
    // Rows outside of the runs; those within are written whole by whoever computes them.
    int64_t t = c->begin;
    for (run r = next_run(c, t, true);; r = next_run(c, r.end, true)) {
        for (; t < (r.begin < r.end ? r.begin : c->end); t++)
            memset(mosa_cpu_out_row(c->args, 1, t) + begin, 0, (size_t)(end - begin) * sizeof(float));
        if (r.begin == r.end) return;
        mosa_gemm g = {.m = r.end - r.begin, .n = c->width, .k = c->vocab, .alpha = 1};
        g.a = logits_of(c, r.begin);
        g.lda = c->args->out_stride[2] / (int64_t)sizeof(float);
        g.b = w->data;
        g.b_dtype = w->dtype;
        g.b_row_bytes = w->bytes / (size_t)c->vocab;
        g.c = mosa_cpu_out_row(c->args, 1, r.begin);
        g.ldc = c->args->out_stride[1] / (int64_t)sizeof(float);
        g.scratch = c->args->scratch;
        fn(&g, thread, n_threads);
        t = r.end;
    }
}

static void multiply_dw(const chunk *c, int thread, int n_threads, mosa_gemm_fn fn) {
    if (c->args->node->attrs2.grad.slot < 0) return;
    for (run r = next_run(c, c->begin, true); r.begin < r.end; r = next_run(c, r.end, true)) {
        mosa_gemm g = {.m = c->vocab, .n = c->width, .k = r.end - r.begin, .alpha = 1};
        g.a = logits_of(c, r.begin);
        g.lda = c->args->out_stride[2] / (int64_t)sizeof(float);
        g.b = mosa_cpu_in_row(c->args, 0, r.begin);
        g.b_row_bytes = (size_t)c->args->in_stride[0];
        g.b_dtype = MOSA_F32;
        g.a_transposed = g.add = true;
        g.c = mosa_cpu_grad(c->args, 4);
        g.ldc = c->width;
        g.scratch = c->args->scratch;
        fn(&g, thread, n_threads);
    }
}

// ---- loss and slopes

// z = cap * tanh(scale * x / cap), as the head of a served graph computes it.
static void shape_logits(const mosa_attrs *attrs, float *z, int64_t n) {
    float scale = attrs->linear_ce.scale, cap = attrs->linear_ce.softcap;
    if (scale != 1)
        for (int64_t i = 0; i < n; i++) z[i] *= scale;
    if (!(cap > 0)) return;
    float inverse = 1 / cap;
    for (int64_t i = 0; i < n; i++) z[i] = mosa_tanhf(z[i] * inverse) * cap;
}

void mosa_cpu_linear_ce_row(const mosa_attrs *attrs, float *z, int64_t vocab, int32_t label, float coef, float *stats) {
    float scale = attrs->linear_ce.scale, cap = attrs->linear_ce.softcap, max, spread[32] = {0};
    shape_logits(attrs, z, vocab);
    float sum = mosa_softmax_sum(z, vocab, &max), log_sum = mosa_log_of(sum), inverse = 1 / sum;
    int64_t best = 0;
    while (z[best] != max && best + 1 < vocab) best++; // the first of equals
    stats[0] = z[label] - max - log_sum;
    stats[1] = max + log_sum;
    stats[3] = best == label;
    for (int64_t i = 0; i < vocab; i++) {
        float p = mosa_expf(z[i] - max) * inverse, slope = scale;
        spread[i % 32] = fmaf(p, z[i] - max, spread[i % 32]);
        if (cap > 0) slope *= 1 - z[i] / cap * (z[i] / cap);
        z[i] = coef * (p - (i == label ? 1 : 0)) * slope;
    }
    stats[2] = log_sum - mosa_sum32(spread);
}

// Rows that do not count may lie inside of a run: no logit of theirs is left.
static void soften_rows(const chunk *c, int thread, int n_threads, const mosa_linear_ce_isa *isa) {
    int64_t begin, end;
    mosa_cpu_share(c->end - c->begin, 1, thread, n_threads, &begin, &end);
    for (int64_t t = c->begin + begin; t < c->begin + end; t++) {
        float *stats = mosa_cpu_out_row(c->args, 0, t), *z = logits_of(c, t);
        memset(stats, 0, 4 * sizeof *stats);
        if (c->labels[t] >= 0)
            (isa ? isa->row : mosa_cpu_linear_ce_row)(&c->args->node->attrs, z, c->vocab, c->labels[t], coef_of(c, t),
                                                      stats);
        if (isa && coef_of(c, t) == 0) memset(z, 0, (size_t)c->vocab * sizeof *z);
    }
}

// dh[t] = sum over v of dz[t,v] w[v], for this thread's rows; rows of w are decoded one by one.
static void add_dh(const chunk *c, int thread, int n_threads) {
    const mosa_tensor_view *w = &((const mosa_weight *)c->args->in[1])->view;
    const mosa_dtype_traits *traits = mosa_dtype_traits_of(w->dtype);
    size_t row_bytes = (size_t)(c->width / traits->block_len) * traits->block_bytes;
    float *decoded = c->args->scratch;
    int64_t begin, end;
    mosa_cpu_share(c->end - c->begin, 1, thread, n_threads, &begin, &end);
    for (int64_t t = c->begin + begin; t < c->begin + end; t++)
        memset(mosa_cpu_out_row(c->args, 1, t), 0, (size_t)c->width * sizeof(float));
    for (int64_t v = 0; v < c->vocab && begin < end; v++) {
        traits->to_f32((const char *)w->data + (size_t)v * row_bytes, decoded, c->width);
        for (int64_t t = c->begin + begin; t < c->begin + end; t++) {
            if (coef_of(c, t) == 0) continue;
            float *dh = mosa_cpu_out_row(c->args, 1, t), dz = logits_of(c, t)[v];
            for (int64_t i = 0; i < c->width; i++) dh[i] = fmaf(dz, decoded[i], dh[i]);
        }
    }
}

static void add_dw(const chunk *c, int thread, int n_threads) {
    int64_t begin, end;
    if (c->args->node->attrs2.grad.slot < 0) return;
    float *grad = mosa_cpu_grad(c->args, 4);
    mosa_cpu_share(c->vocab, 1, thread, n_threads, &begin, &end);
    for (int64_t v = begin; v < end; v++)
        for (int64_t t = c->begin; t < c->end; t++) {
            if (coef_of(c, t) == 0) continue;
            const float *h = mosa_cpu_in_row(c->args, 0, t);
            float *dw = grad + v * c->width, dz = logits_of(c, t)[v];
            for (int64_t i = 0; i < c->width; i++) dw[i] = fmaf(dz, h[i], dw[i]);
        }
}

static void run_fast(const chunk *c, int thread, int n_threads, const mosa_linear_ce_isa *isa) {
    if (c->step == 0 && ((const mosa_weight *)c->args->in[1])->packed) fast_logits(c, thread, n_threads, isa->rows);
    if (c->step == 0 && !((const mosa_weight *)c->args->in[1])->packed)
        multiply_logits(c, thread, n_threads, isa->gemm);
    if (c->step == 1) soften_rows(c, thread, n_threads, isa);
    if (c->step == 2) {
        multiply_dh(c, thread, n_threads, isa->gemm);
        multiply_dw(c, thread, n_threads, isa->gemm);
    }
}

void mosa_cpu_linear_ce(const mosa_cpu_args *args, int thread, int n_threads, const mosa_linear_ce_isa *isa) {
    chunk c = open_chunk(args);
    if (isa) {
        run_fast(&c, thread, n_threads, isa);
        return;
    }
    if (c.step == 0) reference_logits(&c, thread, n_threads);
    if (c.step == 1) soften_rows(&c, thread, n_threads, NULL);
    if (c.step == 2) {
        add_dh(&c, thread, n_threads);
        add_dw(&c, thread, n_threads);
    }
}

void mosa_ref_linear_ce(const mosa_cpu_args *args, int thread, int n_threads) {
    mosa_cpu_linear_ce(args, thread, n_threads, NULL);
}
