// The step of training against what it must equal.
//
// served: log-probabilities of its forward equal those that the engine reports, bit for bit, for every file of
//   tests/golden/families: two copies of the prompt of unequal length in one batch, with keys and values as f16.
// vectors: log-probabilities, and every gradient, against torch over transformers' model (train_vectors.json, made by
//   train_vectors.py). A gradient is held by its length and its products with vectors of random signs: each product of
//   the difference must stay below 3e-5 of the length.
// packing: rows of two segments in one batch give what they give in two runs, bit for bit; 1 and 2 threads too.
// lora: an adapter that is nothing yet changes nothing, the base being quantised or not.
#include "backend/backend.h"
#include "base/rng.h"
#include "codec/json.h"
#include "mosa/mosa.h"
#include "train/step.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static mosa_status serve(const char *path, const int32_t *tokens, int n, heard *h, mosa_error *err) {
    mosa_engine *engine;
    mosa_engine_options options = {.model = path, .kv_type = "f16", .max_sequences = 1, .context_tokens = ROWS_MAX};
    MOSA_TRY(mosa_engine_open(&options, &engine, err));
    mosa_request request = mosa_request_default();
    request.tokens = tokens;
    request.n_tokens = (size_t)n;
    request.max_tokens = 1;
    request.ignore_eos = true;
    request.prompt_logprobs = true;
    request.top_logprobs = 0;
    mosa_status status = mosa_engine_generate(engine, &request, hear, h, err);
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
    mosa_status status = serve(path, tokens, n, &whole, &err);
    if (status == MOSA_OK) status = serve(path, tokens, short_n, &part, &err);
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
        check_packing(other, name, &x, stats);
    } else {
        give_up(name, &err);
    }
    mosa_step_close(step);
    mosa_step_close(other);
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
