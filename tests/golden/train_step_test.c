// The step of training against what it must equal.
//
// served: log-probabilities of its forward equal those that the engine reports, bit for bit, for every file of
//   tests/golden/families: two copies of the prompt of unequal length in one batch, with keys and values as f16.
// vectors: log-probabilities, and every gradient, against torch over transformers' model (train_vectors.json, made by
//   train_vectors.py). A gradient is held by its length and its products with vectors of random signs: each product of
//   the difference must stay below 3e-5 of the length.
// packing: rows of two segments in one batch give what they give in two runs, bit for bit; 1 and 2 threads too.
// recomputed: a budget that recomputes layers gives the same bits.
// lora: an adapter that is nothing yet changes nothing. Its gradients are those that the chain rule makes of the
// gradient
//   of the merged matrix, and once exported and served it has the bits that it was trained with, the base being
//   quantised or not.
#include "backend/backend.h"
#include "base/rng.h"
#include "codec/json.h"
#include "mosa/mosa.h"
#include "train/export.h"
#include "train/step.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FOLDER MOSA_SOURCE_ROOT "/tests/golden/families/"

enum { ROWS_MAX = 512, PATH_BYTES = 512, SIGNS = 8 };

static int passed, failed;

static void report(const char *name, const char *check, bool ok, double worst) {
    if (!ok) printf("FAIL  %s: %s (%.3g)\n", name, check, worst);
    if (ok) printf("ok    %s: %s (%.3g)\n", name, check, worst);
    ok ? passed++ : failed++;
}

static void give_up(const char *name, const mosa_error *err) {
    printf("      %s\n", err->message);
    report(name, "runs", false, 0);
}

typedef struct batch {
    int32_t tokens[ROWS_MAX], labels[ROWS_MAX];
    float coef[ROWS_MAX];
    mosa_step_segment segments[8];
    mosa_step_batch b;
} batch;

static void add_segment(batch *x, const int32_t *tokens, int32_t n) {
    int32_t at = x->b.rows;
    for (int32_t i = 0; i < n; i++) {
        x->tokens[at + i] = tokens[i];
        x->labels[at + i] = i + 1 < n ? tokens[i + 1] : -1;
        x->coef[at + i] = 1;
    }
    x->segments[x->b.n_segments++] = (mosa_step_segment){at, n};
    x->b.rows += n;
    x->b.tokens = x->tokens;
    x->b.labels = x->labels;
    x->b.coef = x->coef;
    x->b.segments = x->segments;
}

static mosa_step_options options_of(const char *path, mosa_step_train train) {
    return (mosa_step_options){.model = path,
                               .train = train,
                               .lora_rank = 4,
                               .lora_alpha = 8,
                               .quantize = MOSA_F32,
                               .compute = MOSA_F32,
                               .kv = MOSA_F16,
                               .max_rows = ROWS_MAX,
                               .reference = train == MOSA_STEP_LORA};
}

// ---- served

typedef struct heard {
    float logp[ROWS_MAX];
    int n;
} heard;

static bool hear(void *user, const mosa_event *event) {
    heard *h = user;
    if (event->token >= 0 && event->is_prompt && h->n < ROWS_MAX) h->logp[h->n++] = event->logprob;
    return true;
}

static mosa_status serve(const char *path, const char *adapter, const int32_t *tokens, int n, heard *h,
                         mosa_error *err) {
    mosa_engine *engine;
    mosa_engine_options options = {.model = path, .kv_type = "f16", .max_sequences = 1, .context_tokens = ROWS_MAX};
    options.max_adapters = adapter ? 1 : 0;
    MOSA_TRY(mosa_engine_open(&options, &engine, err));
    mosa_request request = mosa_request_default();
    request.tokens = tokens;
    request.n_tokens = (size_t)n;
    request.max_tokens = 1;
    request.ignore_eos = true;
    request.prompt_logprobs = true;
    request.top_logprobs = 0;
    request.adapter = adapter ? "a" : NULL;
    mosa_status status = adapter ? mosa_engine_adapter_load(engine, "a", adapter, err) : MOSA_OK;
    if (status == MOSA_OK) status = mosa_engine_generate(engine, &request, hear, h, err);
    mosa_engine_close(engine);
    return status;
}

static int differing(const mosa_step_stats *stats, const heard *h, int32_t first, int32_t n) {
    int count = 0;
    for (int32_t i = 0; i + 1 < n; i++) count += memcmp(&stats[first + i].logp, &h->logp[i], sizeof(float)) != 0;
    return count;
}

static void check_served(mosa_backend *backend, const char *name, const char *path, const int32_t *tokens, int n,
                         mosa_step_train train) {
    mosa_error err = {0};
    mosa_step *step = NULL;
    const mosa_step_stats *stats;
    heard whole = {.n = 0}, part = {.n = 0};
    batch x = {.b = {.rows = 0}};
    int short_n = n / 2;
    mosa_step_options options = options_of(path, train);
    options.context = ROWS_MAX;
    add_segment(&x, tokens, short_n);
    add_segment(&x, tokens, n);
    mosa_status status = serve(path, NULL, tokens, n, &whole, &err);
    if (status == MOSA_OK) status = serve(path, NULL, tokens, short_n, &part, &err);
    if (status == MOSA_OK) status = mosa_step_open(backend, &options, &step, &err);
    if (status == MOSA_OK) status = mosa_step_forward(step, &x.b, &stats, &err);
    int off = 0;
    if (status == MOSA_OK) {
        off = differing(stats, &part, 0, short_n) + differing(stats, &whole, short_n, n);
        report(name, "log-probabilities are the served ones", off == 0 && whole.n == n - 1, off);
        status = mosa_step_run(step, &x.b, &stats, &err);
    }
    if (status == MOSA_OK) {
        off = differing(stats, &part, 0, short_n) + differing(stats, &whole, short_n, n);
        report(name, "those of a run too", off == 0, off);
    }
    if (status == MOSA_OK && train == MOSA_STEP_LORA) {
        status = mosa_step_reference(step, &x.b, &stats, &err);
        off = differing(stats, &part, 0, short_n) + differing(stats, &whole, short_n, n);
        report(name, "those of the base too", status == MOSA_OK && off == 0, off);
    }
    if (status != MOSA_OK) give_up(name, &err);
    mosa_step_close(step);
}

// ---- vectors

static double sign_of(uint64_t stream, int64_t i) { // the generator makes the same
    return (mosa_rng_mix(stream * 0x9e3779b97f4a7c15ull + (uint64_t)i) >> 63) ? -1 : 1;
}

// The largest of |product of the difference| over the length, and the difference of lengths.
static double gradient_distance(const float *gradient, int64_t n, const json_t *expected) {
    double norm = json_real_value(json_object_get(expected, "norm")), square = 0, worst;
    const json_t *products = json_object_get(expected, "products");
    for (int64_t i = 0; i < n; i++) square += (double)gradient[i] * (double)gradient[i];
    if (norm < 1e-9) return sqrt(square) < 1e-6 ? 0 : INFINITY;
    worst = fabs(sqrt(square) - norm) / norm;
    for (int s = 0; s < SIGNS; s++) {
        double product = 0;
        for (int64_t i = 0; i < n; i++) product += sign_of((uint64_t)s, i) * (double)gradient[i];
        worst = fmax(worst, fabs(product - json_real_value(json_array_get(products, (size_t)s))) / norm);
    }
    return worst;
}

static void compare_vectors(mosa_step *step, const char *name, const mosa_step_stats *stats, const json_t *expected) {
    double worst = 0;
    size_t i;
    json_t *logp;
    json_array_foreach(json_object_get(expected, "logp"), i, logp) worst =
        fmax(worst, fabs((double)stats[i].logp - json_real_value(logp)));
    report(name, "log-probabilities", worst <= 5e-5, worst);
    const mosa_params *params = mosa_step_params(step);
    const json_t *gradients = json_object_get(expected, "gradients");
    double all = 0;
    size_t known = 0;
    for (size_t p = 0; p < params->count; p++) {
        const json_t *one = json_object_get(gradients, params->items[p].name);
        if (!one) continue;
        known++;
        double far = gradient_distance(mosa_step_grads(step) + params->items[p].offset, params->items[p].n, one);
        if (!(far <= 3e-5)) printf("      %s is off by %.3g\n", params->items[p].name, far);
        all = fmax(all, far);
    }
    for (size_t p = 0; known < params->count && p < params->count; p++)
        if (!json_object_get(gradients, params->items[p].name))
            printf("      no vector for %s\n", params->items[p].name);
    report(name, "every gradient", all <= 3e-5 && known == params->count, all);
}

static void read_batch(const json_t *expected, batch *x) {
    size_t s, i;
    json_t *segment, *value;
    json_array_foreach(json_object_get(expected, "segments"), s, segment) {
        int32_t tokens[ROWS_MAX], n = 0, first = x->b.rows;
        json_array_foreach(json_object_get(segment, "tokens"), i, value) tokens[n++] =
            (int32_t)json_integer_value(value);
        add_segment(x, tokens, n);
        json_array_foreach(json_object_get(segment, "coef"), i, value) x->coef[first + (int32_t)i] =
            (float)json_real_value(value);
    }
}

// Runs a batch in a fresh step; grads are copied, to free.
static mosa_status run_alone(mosa_step *step, const mosa_step_batch *b, mosa_step_stats *out, mosa_error *err) {
    const mosa_step_stats *stats;
    MOSA_TRY(mosa_step_run(step, b, &stats, err));
    memcpy(out, stats, (size_t)b->rows * sizeof *out);
    return MOSA_OK;
}

static void check_packing(mosa_step *step, const char *name, const batch *x, const mosa_step_stats *packed) {
    mosa_error err = {0};
    static mosa_step_stats alone[ROWS_MAX];
    double worst = 0;
    for (int32_t s = 0; s < x->b.n_segments; s++) {
        const mosa_step_segment *segment = &x->segments[s];
        mosa_step_segment only = {0, segment->row_count};
        mosa_step_batch one = {.rows = segment->row_count, .n_segments = 1, .segments = &only};
        one.tokens = x->tokens + segment->row_begin;
        one.labels = x->labels + segment->row_begin;
        one.coef = x->coef + segment->row_begin;
        if (run_alone(step, &one, alone, &err) != MOSA_OK) {
            give_up(name, &err);
            return;
        }
        worst += memcmp(alone, packed + segment->row_begin, (size_t)segment->row_count * sizeof *alone) != 0;
    }
    report(name, "packed rows are those of segments alone", worst == 0, worst);
}

// The tightest of a row of budgets that can be kept, and that recomputes something.
static void check_recomputed(mosa_backend *backend, const char *name, mosa_step_options options, const batch *x,
                             mosa_step *kept, const mosa_step_stats *stats) {
    static mosa_step_stats again[ROWS_MAX];
    mosa_error err = {0};
    mosa_step *step = NULL;
    size_t all = mosa_step_memory_of(kept).activations, bytes = mosa_step_params(kept)->elements * sizeof(float);
    for (int percent = 30; percent < 100 && !step; percent += 2) {
        options.activation_bytes = (int64_t)all * percent / 100;
        if (mosa_step_open(backend, &options, &step, &err) != MOSA_OK) step = NULL;
    }
    if (!step || mosa_step_memory_of(step).recomputed == 0) {
        report(name, "a budget recomputes layers", false, 0);
    } else if (run_alone(step, &x->b, again, &err) != MOSA_OK) {
        give_up(name, &err);
    } else {
        bool same = memcmp(mosa_step_grads(step), mosa_step_grads(kept), bytes) == 0 &&
                    memcmp(stats, again, (size_t)x->b.rows * sizeof *stats) == 0;
        report(name, "recomputed layers give the same bits, in this part of the memory", same,
               (double)mosa_step_memory_of(step).activations / (double)all);
    }
    mosa_step_close(step);
}

static void check_vectors(mosa_backend *backend, mosa_backend *single, const char *name, const json_t *expected) {
    char path[PATH_BYTES];
    mosa_error err = {0};
    mosa_step *step = NULL, *other = NULL;
    static mosa_step_stats stats[ROWS_MAX], again[ROWS_MAX];
    batch x = {.b = {.rows = 0}};
    snprintf(path, sizeof path, FOLDER "%s", name);
    mosa_step_options options = options_of(path, MOSA_STEP_FULL);
    options.kv = MOSA_F32;
    read_batch(expected, &x);
    mosa_status status = mosa_step_open(backend, &options, &step, &err);
    if (status == MOSA_OK) status = run_alone(step, &x.b, stats, &err);
    if (status == MOSA_OK) compare_vectors(step, name, stats, expected);
    if (status == MOSA_OK) status = mosa_step_open(single, &options, &other, &err);
    if (status == MOSA_OK) status = run_alone(other, &x.b, again, &err);
    if (status == MOSA_OK) {
        size_t bytes = mosa_step_params(step)->elements * sizeof(float);
        bool same = memcmp(mosa_step_grads(step), mosa_step_grads(other), bytes) == 0 &&
                    memcmp(stats, again, (size_t)x.b.rows * sizeof *stats) == 0;
        report(name, "one thread gives the bits of two", same, 0);
        check_recomputed(backend, name, options, &x, step, stats);
        check_packing(other, name, &x, stats);
    } else {
        give_up(name, &err);
    }
    mosa_step_close(step);
    mosa_step_close(other);
}

// ---- lora

static void fill_b(mosa_step *step) {
    const mosa_params *params = mosa_step_params(step);
    for (size_t p = 0; p < params->count; p++)
        for (int64_t i = 0; mosa_step_origin_of(step, p).lora == 2 && i < params->items[p].n; i++)
            mosa_step_weights(step)[params->items[p].offset + (size_t)i] =
                (float)(0.05 * sign_of(p + 50, i) * (double)(i % 7 + 1));
}

typedef struct pair {
    int64_t rank, rows, columns;
    const float *a, *b, *da, *db;
    float *w;
    const float *dw;
} pair;

static bool find_pair(mosa_step *lora, mosa_step *full, size_t p, pair *out) {
    const mosa_params *params = mosa_step_params(lora), *whole = mosa_step_params(full);
    if (mosa_step_origin_of(lora, p).lora != 1) return false;
    char name[256];
    snprintf(name, sizeof name, "%s", params->items[p].name);
    name[strlen(name) - 1] = 'b';
    const mosa_param *a = &params->items[p], *b = &params->items[mosa_params_find(params, name)];
    int64_t w = mosa_params_find(whole, mosa_step_origin_of(lora, p).tensor);
    if (w < 0) return false;
    *out = (pair){.rank = a->dims[0], .rows = b->dims[0], .columns = a->dims[1]};
    out->a = mosa_step_weights(lora) + a->offset;
    out->b = mosa_step_weights(lora) + b->offset;
    out->da = mosa_step_grads(lora) + a->offset;
    out->db = mosa_step_grads(lora) + b->offset;
    out->w = mosa_step_weights(full) + whole->items[w].offset;
    out->dw = mosa_step_grads(full) + whole->items[w].offset;
    return true;
}

static void merge(const pair *m, double scale) {
    for (int64_t r = 0; r < m->rows; r++)
        for (int64_t c = 0; c < m->columns; c++) {
            double sum = 0;
            for (int64_t j = 0; j < m->rank; j++)
                sum += (double)m->b[r * m->rank + j] * (double)m->a[j * m->columns + c];
            m->w[r * m->columns + c] = (float)((double)m->w[r * m->columns + c] + scale * sum);
        }
}

// da = s B^T dW, db = s dW A^T.
static double pair_distance(const pair *m, double scale) {
    double error = 0, size = 0;
    for (int64_t j = 0; j < m->rank; j++) {
        for (int64_t c = 0; c < m->columns; c++) {
            double sum = 0;
            for (int64_t r = 0; r < m->rows; r++)
                sum += (double)m->b[r * m->rank + j] * (double)m->dw[r * m->columns + c];
            error += pow(scale * sum - (double)m->da[j * m->columns + c], 2);
            size += pow(scale * sum, 2);
        }
        for (int64_t r = 0; r < m->rows; r++) {
            double sum = 0;
            for (int64_t c = 0; c < m->columns; c++)
                sum += (double)m->dw[r * m->columns + c] * (double)m->a[j * m->columns + c];
            error += pow(scale * sum - (double)m->db[r * m->rank + j], 2);
            size += pow(scale * sum, 2);
        }
    }
    return sqrt(error / fmax(size, 1e-20));
}

static void check_chain_rule(mosa_backend *backend, const char *name, const char *path, const int32_t *tokens, int n) {
    mosa_error err = {0};
    mosa_step *lora = NULL, *full = NULL;
    static mosa_step_stats stats[ROWS_MAX];
    batch x = {.b = {.rows = 0}};
    mosa_step_options small = options_of(path, MOSA_STEP_LORA), whole = options_of(path, MOSA_STEP_FULL);
    small.kv = whole.kv = MOSA_F32;
    add_segment(&x, tokens, n);
    mosa_status status = mosa_step_open(backend, &small, &lora, &err);
    if (status == MOSA_OK) status = mosa_step_open(backend, &whole, &full, &err);
    if (status == MOSA_OK) fill_b(lora);
    pair m;
    for (size_t p = 0; status == MOSA_OK && p < mosa_step_params(lora)->count; p++)
        if (find_pair(lora, full, p, &m)) merge(&m, 2);
    if (status == MOSA_OK) status = mosa_step_refresh(lora, false, 0, 0, &err);
    if (status == MOSA_OK) status = mosa_step_refresh(full, false, 0, 0, &err);
    if (status == MOSA_OK) status = run_alone(lora, &x.b, stats, &err);
    if (status == MOSA_OK) status = run_alone(full, &x.b, stats, &err);
    double worst = 0;
    int pairs = 0;
    for (size_t p = 0; status == MOSA_OK && p < mosa_step_params(lora)->count; p++)
        if (find_pair(lora, full, p, &m)) {
            worst = fmax(worst, pair_distance(&m, 2));
            pairs++;
        }
    if (status == MOSA_OK)
        report(name, "gradients of pairs by the chain rule", pairs > 0 && worst <= 3e-5, worst);
    else
        give_up(name, &err);
    mosa_step_close(lora);
    mosa_step_close(full);
}

static void check_adapter(mosa_backend *backend, const char *name, const char *path, const int32_t *tokens, int n) {
    char folder[] = "/tmp/mosa-train-step-XXXXXX";
    mosa_error err = {0};
    mosa_step *step = NULL;
    const mosa_step_stats *stats;
    heard h = {.n = 0};
    batch x = {.b = {.rows = 0}};
    mosa_step_options options = options_of(path, MOSA_STEP_LORA);
    options.context = ROWS_MAX;
    add_segment(&x, tokens, n);
    mosa_status status = mosa_step_open(backend, &options, &step, &err);
    if (status == MOSA_OK) fill_b(step);
    if (status == MOSA_OK) status = mosa_step_refresh(step, false, 0, 0, &err);
    if (status == MOSA_OK) status = mosa_step_run(step, &x.b, &stats, &err);
    mosa_export how = {.step = step, .base = path, .rank = options.lora_rank, .alpha = options.lora_alpha};
    if (!mkdtemp(folder)) status = mosa_fail(&err, MOSA_EIO, "no folder for the adapter");
    if (status == MOSA_OK) status = mosa_export_peft(&how, folder, &err);
    if (status == MOSA_OK) status = serve(path, folder, tokens, n, &h, &err);
    int off = status == MOSA_OK ? differing(stats, &h, 0, n) : 0;
    if (status == MOSA_OK)
        report(name, "a served adapter has the bits that it was trained with", off == 0 && h.n == n - 1, off);
    else
        give_up(name, &err);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command) != 0) printf("      %s is left\n", folder);
    mosa_step_close(step);
}

// Whose adapters the engine takes whole, in names that PEFT has.
static bool has_plain_adapters(const char *name) {
    static const char *const names[] = {"small-llama",  "small-mistral", "small-qwen2", "small-qwen3",
                                        "small-gemma2", "small-gemma3",  "small-phi3",  "small-granite"};
    for (size_t i = 0; i < MOSA_COUNT(names); i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

static void check_family(mosa_backend *backend, mosa_backend *single, const char *name, const json_t *vectors) {
    char path[PATH_BYTES], label[PATH_BYTES];
    mosa_error err = {0};
    json_t *expected = NULL, *value, *variant;
    int32_t prompt[ROWS_MAX], n = 0;
    size_t i;
    snprintf(path, sizeof path, FOLDER "%s/expected.json", name);
    if (mosa_json_load(path, NULL, &expected, &err) != MOSA_OK) {
        give_up(name, &err);
        return;
    }
    json_array_foreach(json_object_get(expected, "prompt_ids"), i, value) prompt[n++] =
        (int32_t)json_integer_value(value);
    json_array_foreach(json_object_get(expected, "variants"), i, variant) {
        const char *kind = json_string_value(json_object_get(variant, "variant"));
        const char *model = json_string_value(json_object_get(variant, "model"));
        bool plain = strcmp(kind, "hf") == 0 || strcmp(kind, "f16") == 0;
        snprintf(path, sizeof path, FOLDER "%s/%s", name, strcmp(model, ".") == 0 ? "" : model);
        snprintf(label, sizeof label, "%s %s", name, kind);
        check_served(backend, label, path, prompt, n, plain ? MOSA_STEP_FULL : MOSA_STEP_LORA);
        if (strcmp(kind, "hf") == 0 && !strstr(name, "phi3")) check_chain_rule(backend, label, path, prompt, n);
        if (has_plain_adapters(name)) check_adapter(backend, label, path, prompt, n);
    }
    json_decref(expected);
    if (vectors) check_vectors(backend, single, name, vectors);
}

int main(int argc, char **argv) {
    const char *const families[] = {"small-llama",   "small-mistral",   "small-qwen2",   "small-qwen3",
                                    "small-gemma2",  "small-gemma3",    "small-phi3",    "small-granite",
                                    "small-gpt-oss", "small-qwen2-moe", "small-deepseek"};
    const char *device = argc > 1 ? argv[1] : "cpu";
    mosa_error err = {0};
    mosa_backend *backend, *single;
    json_t *vectors = NULL;
    if (mosa_backend_open(&(mosa_backend_options){.device = device, .threads = 2}, &backend, &err) != MOSA_OK ||
        mosa_backend_open(&(mosa_backend_options){.device = device, .threads = 1}, &single, &err) != MOSA_OK ||
        mosa_json_load(MOSA_SOURCE_ROOT "/tests/golden/train_vectors.json", NULL, &vectors, &err) != MOSA_OK) {
        printf("FAIL  %s\n", err.message);
        return 1;
    }
    for (size_t i = 0; i < MOSA_COUNT(families); i++)
        if (argc < 3 || strcmp(argv[2], families[i]) == 0)
            check_family(backend, single, families[i], json_object_get(vectors, families[i]));
    json_decref(vectors);
    backend->ops->destroy(backend);
    single->ops->destroy(single);
    printf("%d passed, %d failed\n", passed, failed);
    return failed || !passed;
}
