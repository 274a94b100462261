// Muon on one matrix: momentum, then five steps of Newton-Schulz towards the nearest orthogonal matrix.
//
// X is the smaller side first: [r, c] with r <= c. A step is A = X X', B = b A + c A A, X = a X + B X. Products are
// sums over k in ascending order per element, whole rows per thread: the same bits for any number of threads. Source:
// K. Jordan, "Muon: an optimizer for hidden layers in neural networks", 2024.
#include "train/optimizer_internal.h"

#include <math.h>
#include <string.h>

static const float NS_A = 3.4445f, NS_B = -4.7750f, NS_C = 2.0315f, NS_EPS = 1e-7f;

typedef struct muon_job {
    const mosa_step_values *s;
    const mosa_param *param;
    float *w, *b;
    const float *g;
    int64_t r, c;
    float *x, *xt, *gram, *update; // [r, c], [c, r], [r, r], [r, r]
    float *x_next;                 // [r, c]
    float rate;
} muon_job;

size_t mosa_muon_scratch_floats(const mosa_param *param) {
    int64_t r = param->dims[0] < param->dims[1] ? param->dims[0] : param->dims[1];
    return (size_t)(3 * param->n + 2 * r * r);
}

static void share(int64_t n, int thread, int n_threads, int64_t *begin, int64_t *end) {
    *begin = n * thread / n_threads;
    *end = n * (thread + 1) / n_threads;
}

// out[0..n) = beta * start[0..n) + alpha * sum over k of a[k] * b[k, 0..n)
MOSA_TRAIN_WIDE
static void row_product(float *restrict out, const float *start, float beta, float alpha, const float *a,
                        const float *restrict b, int64_t k_count, int64_t n) {
    memset(out, 0, (size_t)n * sizeof *out);
    for (int64_t k = 0; k < k_count; k++) {
        const float ak = a[k], *restrict bk = b + k * n;
        for (int64_t j = 0; j < n; j++) out[j] += ak * bk[j];
    }
    for (int64_t j = 0; j < n; j++) out[j] = alpha * out[j];
    if (start)
        for (int64_t j = 0; j < n; j++) out[j] += beta * start[j];
}

static void momentum_rows(void *arg, int thread, int n_threads) {
    muon_job *job = arg;
    const mosa_step_values *s = job->s;
    const int64_t rows = job->param->dims[0], columns = job->param->dims[1];
    const bool turned = rows > columns;
    int64_t begin, end;
    share(rows, thread, n_threads, &begin, &end);
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = 0; j < columns; j++) {
            float grad = job->g[i * columns + j] * s->grad_scale, *b = &job->b[i * columns + j];
            *b += (grad - *b) * (1 - s->momentum);
            float u = s->nesterov ? *b - (*b - grad) * (1 - s->momentum) : *b;
            job->x[turned ? j * rows + i : i * columns + j] = u;
        }
}

static void normalize(muon_job *job) {
    double sum = 0;
    for (int64_t i = 0; i < job->r * job->c; i++) sum += (double)job->x[i] * job->x[i];
    float norm = (float)sqrt(sum);
    norm = norm > NS_EPS ? norm : NS_EPS;
    for (int64_t i = 0; i < job->r * job->c; i++) job->x[i] /= norm;
}

static void transpose_rows(void *arg, int thread, int n_threads) {
    muon_job *job = arg;
    int64_t begin, end;
    share(job->c, thread, n_threads, &begin, &end);
    for (int64_t j = begin; j < end; j++)
        for (int64_t i = 0; i < job->r; i++) job->xt[j * job->r + i] = job->x[i * job->c + j];
}

static void gram_rows(void *arg, int thread, int n_threads) {
    muon_job *job = arg;
    int64_t begin, end;
    share(job->r, thread, n_threads, &begin, &end);
    for (int64_t i = begin; i < end; i++)
        row_product(job->gram + i * job->r, NULL, 0, 1, job->x + i * job->c, job->xt, job->c, job->r);
}

static void update_rows(void *arg, int thread, int n_threads) {
    muon_job *job = arg;
    int64_t begin, end;
    share(job->r, thread, n_threads, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        float *update = job->update + i * job->r, *gram = job->gram + i * job->r;
        row_product(update, gram, NS_B, NS_C, gram, job->gram, job->r, job->r);
        row_product(job->x_next + i * job->c, job->x + i * job->c, NS_A, 1, update, job->x, job->r, job->c);
    }
}

static void apply_rows(void *arg, int thread, int n_threads) {
    muon_job *job = arg;
    const int64_t rows = job->param->dims[0], columns = job->param->dims[1];
    const bool turned = rows > columns;
    const float keep = 1 - job->s->lr * job->s->weight_decay;
    int64_t begin, end;
    share(rows, thread, n_threads, &begin, &end);
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = 0; j < columns; j++) {
            float *w = &job->w[i * columns + j];
            *w = *w * keep - job->rate * job->x[turned ? j * rows + i : i * columns + j];
        }
}

void mosa_muon_matrix(mosa_optimizer *optimizer, const mosa_step_values *s, const mosa_param *param, float *w,
                      const float *g, float *b) {
    const int64_t rows = param->dims[0], columns = param->dims[1];
    muon_job job = {.s = s, .param = param, .w = w, .b = b, .g = g};
    job.r = rows < columns ? rows : columns;
    job.c = rows < columns ? columns : rows;
    job.x = optimizer->muon;
    job.xt = job.x + param->n;
    job.x_next = job.xt + param->n;
    job.gram = job.x_next + param->n;
    job.update = job.gram + job.r * job.r;
    double ratio = (double)rows / (double)columns;
    job.rate = s->lr * (float)(optimizer->options.muon_match_adamw ? 0.2 * sqrt((double)job.c) : sqrt(fmax(1, ratio)));
    mosa_pool_run(optimizer->pool, momentum_rows, &job);
    normalize(&job);
    for (int step = 0; step < optimizer->options.newton_schulz_steps; step++) {
        mosa_pool_run(optimizer->pool, transpose_rows, &job);
        mosa_pool_run(optimizer->pool, gram_rows, &job);
        mosa_pool_run(optimizer->pool, update_rows, &job);
        float *swap = job.x;
        job.x = job.x_next;
        job.x_next = swap;
    }
    mosa_pool_run(optimizer->pool, apply_rows, &job);
}
