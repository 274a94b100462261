// Every model family against transformers: logits of all prompt positions, and 64 greedy tokens through the engine.
//
// Cases come from tests/golden/families (committed) and build/golden/families (all of them, when
// family_vectors.py has been run). An argument names a folder of cases; "--device cpu:ref" uses the plain C kernels.
#include "backend/backend.h"
#include "codec/json.h"
#include "model/model.h"
#include "mosa/mosa.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { TOKENS_MAX = 4096, PATH_BYTES = 1024 };

typedef struct golden_case {
    char folder[PATH_BYTES];
    json_t *expected;
    int32_t prompt[TOKENS_MAX];
    int n_prompt, vocab;
    int64_t served; // longest sequence, 0 = the model's own
} golden_case;

static const char *device = "cpu";
static int passed, failed;

static void report(const char *folder, const char *variant, const char *check, bool ok, double worst) {
    printf("%s  %s %s: %s (%.3g)\n", ok ? "ok  " : "FAIL", folder, variant, check, worst);
    ok ? passed++ : failed++;
}

static int read_ids(const json_t *array, int32_t *ids) {
    size_t n = json_array_size(array);
    if (n > TOKENS_MAX) n = TOKENS_MAX;
    for (size_t i = 0; i < n; i++) ids[i] = (int32_t)json_integer_value(json_array_get(array, i));
    return (int)n;
}

static float *read_floats(const char *path, size_t count) {
    float *values = malloc(count * sizeof *values);
    FILE *file = fopen(path, "rb");
    if (!file || !values || fread(values, sizeof *values, count, file) != count) {
        free(values);
        values = NULL;
    }
    if (file) fclose(file);
    return values;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

// Of each position, the root mean square of the difference over that of the logits; the median of them, because in a
// model of experts the least noise may send a row to another expert, and that row tells nothing.
static double median_noise(const golden_case *c, const float *logits, const float *expected) {
    static double noise[TOKENS_MAX];
    for (int t = 0; t < c->n_prompt; t++) {
        double square = 0, signal = 0;
        for (size_t i = (size_t)t * (size_t)c->vocab; i < (size_t)(t + 1) * (size_t)c->vocab; i++) {
            double difference = (double)logits[i] - expected[i];
            square += difference * difference;
            signal += (double)expected[i] * expected[i];
        }
        noise[t] = sqrt(square / signal);
    }
    qsort(noise, (size_t)c->n_prompt, sizeof *noise, ascending);
    return noise[c->n_prompt / 2];
}

// Runs the prompt through a model with f32 pages. *worst: the largest difference from the expected logits; *noise: as
// of median_noise, which is what quantised activations are judged by.
static mosa_status compare_logits(mosa_backend *backend, const golden_case *c, const char *model_path,
                                  const float *expected, double *worst, double *noise, mosa_error *err) {
    mosa_model *model;
    mosa_model_options options = {
        .path = model_path, .context = c->served, .max_rows = c->n_prompt, .max_outputs = c->n_prompt};
    MOSA_TRY(mosa_model_open(backend, &options, &model, err));
    const mosa_model_config *config = mosa_model_get_config(model);
    int32_t pages[TOKENS_MAX / 32 + 1], positions[TOKENS_MAX];
    mosa_kv_spec spec = {.layers = config->layers,
                         .kv_heads = config->kv_heads,
                         .head_width = config->head_width,
                         .value_width = config->value_width,
                         .value_in_key = config->value_in_key,
                         .page_tokens = 32,
                         .pages = c->n_prompt / 32 + 1,
                         .dtype = MOSA_F32};
    for (int i = 0; i < spec.pages; i++) pages[i] = i;
    for (int i = 0; i < c->n_prompt; i++) positions[i] = i;
    mosa_kv *kv = NULL;
    const float *logits;
    mosa_segment segment = {.row_count = c->n_prompt, .n_pages = (int32_t)spec.pages, .pages = pages};
    mosa_batch batch = {.rows = c->n_prompt, .n_segments = 1, .segments = &segment};
    mosa_status status = backend->ops->kv_create(backend, &spec, &kv, err);
    if (status == MOSA_OK) status = mosa_model_forward(model, c->prompt, positions, &batch, kv, err);
    if (status == MOSA_OK) status = mosa_model_logits(model, NULL, c->n_prompt, &logits, err);
    *worst = 0;
    for (size_t i = 0; status == MOSA_OK && i < (size_t)c->n_prompt * (size_t)c->vocab; i++) {
        double difference = fabs((double)logits[i] - expected[i]);
        if (!(difference <= *worst)) *worst = difference;
    }
    if (status == MOSA_OK) *noise = median_noise(c, logits, expected);
    if (kv) backend->ops->kv_destroy(backend, kv);
    mosa_model_close(model);
    return status;
}

typedef struct collected {
    int32_t ids[TOKENS_MAX];
    int n;
} collected;

static bool collect(void *user, const mosa_event *event) {
    collected *c = user;
    if (event->token >= 0 && c->n < TOKENS_MAX) c->ids[c->n++] = event->token;
    return true;
}

// Index of the first token that differs from the expected continuation, or its length when all agree.
static mosa_status compare_greedy(const golden_case *c, const char *model_path, const int32_t *expected, int n,
                                  int *agreed, mosa_error *err) {
    mosa_engine *engine;
    mosa_engine_options options = {
        .model = model_path, .device = device, .kv_type = "f32", .max_sequences = 2, .context_tokens = c->served};
    MOSA_TRY(mosa_engine_open(&options, &engine, err));
    mosa_request request = mosa_request_default();
    request.tokens = c->prompt;
    request.n_tokens = (size_t)c->n_prompt;
    request.sampling.temperature = 0;
    request.max_tokens = n;
    request.ignore_eos = true;
    collected got = {.n = 0};
    mosa_status status = mosa_engine_generate(engine, &request, collect, &got, err);
    for (*agreed = 0; *agreed < n && *agreed < got.n && got.ids[*agreed] == expected[*agreed];) (*agreed)++;
    mosa_engine_close(engine);
    return status;
}

static void check_variant(mosa_backend *backend, const golden_case *c, const json_t *variant) {
    const char *name = json_string_value(json_object_get(variant, "variant"));
    char model_path[PATH_BYTES + 128], logits_path[PATH_BYTES + 128];
    const char *model = json_string_value(json_object_get(variant, "model"));
    snprintf(model_path, sizeof model_path, "%s/%s", c->folder, strcmp(model, ".") == 0 ? "" : model);
    snprintf(logits_path, sizeof logits_path, "%s/%s", c->folder,
             json_string_value(json_object_get(variant, "logits")));
    mosa_error err = {0};
    double worst = INFINITY, noise = INFINITY;
    bool quantised = strcmp(name, "q8_0") == 0 || strstr(name, "mxfp4");
    float *expected = read_floats(logits_path, (size_t)c->n_prompt * (size_t)c->vocab);
    if (!expected || compare_logits(backend, c, model_path, expected, &worst, &noise, &err) != MOSA_OK) {
        printf("      %s\n", expected ? err.message : "cannot read the expected logits");
        report(c->folder, name, "runs", false, 0);
        free(expected);
        return;
    }
    free(expected);
    if (quantised)
        report(c->folder, name, "noise of quantised activations", noise <= 0.06, noise);
    else
        report(c->folder, name, "logits", worst <= 2e-4, worst);
    int32_t greedy[TOKENS_MAX];
    int n = read_ids(json_object_get(variant, "greedy"), greedy), agreed = 0;
    if (quantised) return;
    if (compare_greedy(c, model_path, greedy, n, &agreed, &err) != MOSA_OK) printf("      %s\n", err.message);
    report(c->folder, name, "greedy", agreed == n, agreed);
}

static void check_case(mosa_backend *backend, const char *root, const char *name) {
    golden_case *c = calloc(1, sizeof *c);
    char path[PATH_BYTES + 64];
    mosa_error err;
    snprintf(c->folder, sizeof c->folder, "%s/%s", root, name);
    snprintf(path, sizeof path, "%s/expected.json", c->folder);
    if (mosa_json_load(path, NULL, &c->expected, &err) == MOSA_OK) {
        c->n_prompt = read_ids(json_object_get(c->expected, "prompt_ids"), c->prompt);
        c->vocab = (int)json_integer_value(json_object_get(c->expected, "vocab"));
        c->served = json_integer_value(json_object_get(c->expected, "served"));
        size_t i;
        json_t *variant;
        json_array_foreach(json_object_get(c->expected, "variants"), i, variant) check_variant(backend, c, variant);
        json_decref(c->expected);
    }
    free(c);
}

static void check_root(mosa_backend *backend, const char *root) {
    DIR *folder = opendir(root);
    if (!folder) {
        printf("skip  %s is not there\n", root);
        return;
    }
    for (struct dirent *entry; (entry = readdir(folder));)
        if (entry->d_name[0] != '.') check_case(backend, root, entry->d_name);
    closedir(folder);
}

int main(int argc, char **argv) {
    const char *root = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--device") == 0 && i + 1 < argc)
            device = argv[++i];
        else
            root = argv[i];
    }
    mosa_error err;
    mosa_backend *backend;
    mosa_backend_options options = {.device = device, .threads = 2};
    if (mosa_backend_open(&options, &backend, &err) != MOSA_OK) {
        printf("FAIL  %s\n", err.message);
        return 1;
    }
    if (root)
        check_root(backend, root);
    else {
        check_root(backend, MOSA_SOURCE_ROOT "/tests/golden/families");
        check_root(backend, MOSA_SOURCE_ROOT "/build/golden/families");
    }
    backend->ops->destroy(backend);
    printf("%d passed, %d failed\n", passed, failed);
    return failed || !passed;
}
