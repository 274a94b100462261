// LoRA adapters against PEFT: logits of the small models of families/ with the adapters of adapters/, all of a model in
// one batch, with base rows between them; on the Hugging Face folders and on GGUF files made from them.
#include "backend/backend.h"
#include "cli/command.h"
#include "codec/json.h"
#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TOKENS_MAX = 64, ADAPTERS_MAX = 8, SEGMENTS_MAX = 2 * ADAPTERS_MAX + 1, PATH_BYTES = 512 };

#define ROOT       MOSA_SOURCE_ROOT "/tests/golden"
#define TOLERANCE  2e-4
#define EFFECT_MIN 0.05 // an adapter that changed less would prove nothing

typedef struct fixture {
    const char *name, *variant;
    json_t *expected;
    int32_t prompt[TOKENS_MAX], tokens[SEGMENTS_MAX * TOKENS_MAX], positions[SEGMENTS_MAX * TOKENS_MAX];
    int n_prompt, vocab;
    mosa_model *model;
    mosa_kv *kv;
    mosa_adapter *adapters[ADAPTERS_MAX];
    const json_t *cases[ADAPTERS_MAX]; // what each adapter was made as
    int n_adapters;
    float *base; // (n_prompt, vocab) logits without an adapter
} fixture;

static int passed, failed;

static void report(const fixture *f, const char *check, bool ok, double value) {
    printf("%s  %s %s: %s (%.3g)\n", ok ? "ok  " : "FAIL", f->name, f->variant, check, value);
    ok ? passed++ : failed++;
}

static void must(mosa_status status, const mosa_error *err) {
    if (status == MOSA_OK) return;
    printf("FAIL  %s\n", err->message);
    exit(1);
}

static float *read_floats(const char *path, size_t count) {
    float *values = malloc(count * sizeof *values);
    FILE *file = fopen(path, "rb");
    if (!file || !values || fread(values, sizeof *values, count, file) != count) {
        printf("FAIL  cannot read %s\n", path);
        exit(1);
    }
    fclose(file);
    return values;
}

static void load_prompt(fixture *f) {
    char path[PATH_BYTES];
    mosa_error err;
    json_t *family;
    snprintf(path, sizeof path, ROOT "/families/%s/expected.json", f->name);
    must(mosa_json_load(path, NULL, &family, &err), &err);
    const json_t *ids = json_object_get(family, "prompt_ids");
    f->n_prompt = (int)json_array_size(ids);
    for (int i = 0; i < f->n_prompt; i++) f->prompt[i] = (int32_t)json_integer_value(json_array_get(ids, (size_t)i));
    f->vocab = (int)json_integer_value(json_object_get(family, "vocab"));
    json_decref(family);
    snprintf(path, sizeof path, ROOT "/adapters/%s/expected.json", f->name);
    must(mosa_json_load(path, NULL, &f->expected, &err), &err);
}

static void load_adapters(fixture *f) {
    size_t i, j;
    json_t *one, *file;
    json_array_foreach(json_object_get(f->expected, "cases"), i, one) {
        json_array_foreach(json_object_get(one, "files"), j, file) {
            char path[PATH_BYTES];
            mosa_error err;
            int rank;
            snprintf(path, sizeof path, ROOT "/adapters/%s/%s", f->name, json_string_value(file));
            f->cases[f->n_adapters] = one;
            must(mosa_model_adapter_create(f->model, path, &f->adapters[f->n_adapters++], &rank, &err), &err);
        }
    }
}

// One batch: the prompt without an adapter, then with each, the base between them.
static const float *run_mix(fixture *f, mosa_backend *backend, int n_segments) {
    static mosa_segment segments[SEGMENTS_MAX];
    static int32_t pages[SEGMENTS_MAX * 2];
    const mosa_model_config *config = mosa_model_get_config(f->model);
    mosa_kv_spec spec = {.layers = config->layers,
                         .kv_heads = config->kv_heads,
                         .head_width = config->head_width,
                         .page_tokens = 32,
                         .pages = (int64_t)SEGMENTS_MAX * 2,
                         .dtype = MOSA_F32};
    mosa_error err;
    if (!f->kv) must(backend->ops->kv_create(backend, &spec, &f->kv, &err), &err);
    for (int i = 0; i < 2 * n_segments; i++) pages[i] = i;
    for (int s = 0; s < n_segments; s++) {
        segments[s] = (mosa_segment){.row_begin = s * f->n_prompt,
                                     .row_count = f->n_prompt,
                                     .n_pages = 2,
                                     .pages = pages + 2 * s,
                                     .adapter = s % 2 ? s / 2 + 1 : 0};
        for (int i = 0; i < f->n_prompt; i++) f->positions[s * f->n_prompt + i] = i;
        memcpy(f->tokens + s * f->n_prompt, f->prompt, (size_t)f->n_prompt * sizeof *f->prompt);
    }
    mosa_batch batch = {.rows = n_segments * f->n_prompt,
                        .n_segments = n_segments,
                        .segments = segments,
                        .n_adapters = f->n_adapters,
                        .adapters = (const mosa_adapter *const *)f->adapters};
    const float *logits;
    must(mosa_model_forward(f->model, f->tokens, f->positions, &batch, f->kv, &err), &err);
    must(mosa_model_logits(f->model, NULL, batch.rows, &logits, &err), &err);
    return logits;
}

static void check_adapter(fixture *f, int adapter, const float *logits) {
    const json_t *one = f->cases[adapter], *positions = json_object_get(one, "positions");
    size_t count = json_array_size(positions), vocab = (size_t)f->vocab;
    char path[PATH_BYTES], check[64];
    const char *file = json_string_value(json_object_get(one, "logits"));
    snprintf(path, sizeof path, ROOT "/adapters/%s/%s", f->name, file);
    float *expected = read_floats(path, count * vocab);
    double worst = 0, effect = 0;
    for (size_t p = 0; p < count; p++) {
        size_t row = (size_t)json_integer_value(json_array_get(positions, p));
        for (size_t v = 0; v < vocab; v++) {
            worst = fmax(worst, fabs((double)logits[row * vocab + v] - expected[p * vocab + v]));
            effect = fmax(effect, fabs((double)f->base[row * vocab + v] - expected[p * vocab + v]));
        }
    }
    snprintf(check, sizeof check, "logits of adapter %d (%s)", adapter, file);
    report(f, check, worst <= TOLERANCE, worst);
    if (effect < EFFECT_MIN) report(f, "the adapter has an effect", false, effect);
    free(expected);
}

static void check_model(mosa_backend *backend, const char *name, const char *variant, const char *path) {
    fixture *f = calloc(1, sizeof *f);
    mosa_error err;
    *f = (fixture){.name = name, .variant = variant};
    load_prompt(f);
    mosa_model_options options = {.path = path,
                                  .max_rows = SEGMENTS_MAX * f->n_prompt,
                                  .max_outputs = SEGMENTS_MAX * f->n_prompt,
                                  .max_adapter_rank = 16};
    must(mosa_model_open(backend, &options, &f->model, &err), &err);
    size_t bytes = (size_t)f->n_prompt * (size_t)f->vocab * sizeof(float);
    f->base = malloc(bytes);
    memcpy(f->base, run_mix(f, backend, 1), bytes); // the plan without adapters
    load_adapters(f);
    const float *logits = run_mix(f, backend, 2 * f->n_adapters + 1);
    for (int s = 0; s < 2 * f->n_adapters + 1; s++) {
        const float *rows = logits + (size_t)s * bytes / sizeof(float);
        if (s % 2)
            check_adapter(f, s / 2, rows);
        else
            report(f, "base rows keep their bits", memcmp(rows, f->base, bytes) == 0, s);
    }
    for (int i = 0; i < f->n_adapters; i++) mosa_model_adapter_destroy(f->model, f->adapters[i]);
    backend->ops->kv_destroy(backend, f->kv);
    mosa_model_close(f->model);
    json_decref(f->expected);
    free(f->base);
    free(f);
}

// Runs `mosa convert FOLDER FILE` as main does: llama GGUF files have the rows of Q and K in another order.
static void convert(const char *folder, const char *file) {
    const mosa_command *command = mosa_command_find("convert");
    const char *arguments[] = {folder, file};
    mosa_option_sources sources = {.argc = 2, .argv = arguments};
    mosa_arena arena;
    mosa_command_call call = {.arena = &arena};
    mosa_error err;
    mosa_arena_init(&arena, 0, 0);
    void *values = mosa_arena_alloc(&arena, command->values_bytes);
    must(mosa_options_read(command->options, &sources, &arena, values, &call.arguments, &err), &err);
    call.values = values;
    must(command->run(&call, &err), &err);
    mosa_arena_finish(&arena);
}

static void check_converted(mosa_backend *backend) {
    char folder[] = "/tmp/mosa-adapters-XXXXXX", file[PATH_BYTES];
    if (!mkdtemp(folder)) exit(1);
    snprintf(file, sizeof file, "%s/llama.gguf", folder);
    convert(ROOT "/families/small-llama", file);
    check_model(backend, "small-llama", "gguf", file);
    unlink(file);
    rmdir(folder);
}

int main(int argc, char **argv) {
    mosa_error err;
    mosa_backend *backend;
    mosa_backend_options options = {.device = argc > 1 ? argv[1] : "cpu", .threads = 2};
    must(mosa_backend_open(&options, &backend, &err), &err);
    static const char *const models[] = {"small-llama",  "small-qwen2",   "small-qwen3", "small-gemma2",
                                         "small-gemma3", "small-granite", "small-phi3",  "small-qwen2-moe"};
    for (size_t i = 0; i < MOSA_COUNT(models); i++) {
        char path[PATH_BYTES];
        snprintf(path, sizeof path, ROOT "/families/%s", models[i]);
        check_model(backend, models[i], "folder", path);
    }
    check_model(backend, "small-qwen2", "gguf", ROOT "/families/small-qwen2/model-f16.gguf");
    check_converted(backend);
    backend->ops->destroy(backend);
    printf("%d passed, %d failed\n", passed, failed);
    return failed || !passed;
}
