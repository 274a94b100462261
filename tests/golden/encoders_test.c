// Every encoder against transformers: hidden rows of packed sequences, embeddings and scores through the engine, many
// at once and one alone to the same bits.
//
// Cases come from tests/golden/encoders (committed) and build/golden/encoders (encoder_vectors.py, which describes a
// case's files). An argument names a folder of cases; "--device cpu:ref" uses the plain C kernels.
#include "backend/backend.h"
#include "codec/json.h"
#include "model/model.h"
#include "mosa/mosa.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPTS_MAX = 8, TOKENS_MAX = 1024, PATH_BYTES = 1024, VALUES_MAX = TOKENS_MAX * 128 };

typedef struct golden_case {
    char folder[PATH_BYTES];
    int32_t tokens[TOKENS_MAX], positions[TOKENS_MAX], types[TOKENS_MAX]; // of all prompts, one after another
    mosa_segment segments[PROMPTS_MAX];
    int32_t first[PROMPTS_MAX]; // where the second text begins, 0 = there is none
    int n_prompts, n_tokens, width;
} golden_case;

// What the engine says of each prompt.
typedef struct answers {
    uint64_t ids[PROMPTS_MAX];
    float embeddings[PROMPTS_MAX][512];
    float scores[PROMPTS_MAX];
    int n_done, width;
} answers;

static const char *device = "cpu";
static int passed, failed;

static void report(const golden_case *c, const char *variant, const char *check, bool ok, double worst) {
    printf("%s  %s %s: %s (%.3g)\n", ok ? "ok  " : "FAIL", c->folder, variant, check, worst);
    ok ? passed++ : failed++;
}

// Largest difference from a file of floats; infinite when it cannot be read. *noise: relative, root mean square.
static double compare(const golden_case *c, const json_t *variant, const char *what, const float *got, size_t count,
                      double *noise) {
    static float expected[VALUES_MAX];
    char path[PATH_BYTES + 128];
    double worst = 0, square = 0, signal = 0;
    snprintf(path, sizeof path, "%s/%s", c->folder, json_string_value(json_object_get(variant, what)));
    FILE *file = fopen(path, "rb");
    bool read = file && count <= VALUES_MAX && fread(expected, sizeof *expected, count, file) == count;
    if (file) fclose(file);
    if (!read) return INFINITY;
    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)got[i] - expected[i]);
        if (!(difference <= worst)) worst = difference;
        square += difference * difference;
        signal += (double)expected[i] * expected[i];
    }
    *noise = sqrt(square / signal);
    return worst;
}

static void check_hidden(mosa_backend *backend, const golden_case *c, const json_t *variant, const char *model_path) {
    const char *name = json_string_value(json_object_get(variant, "variant"));
    mosa_model *model = NULL;
    mosa_error err = {0};
    MOSA_AUTO_FREE float *hidden = calloc((size_t)c->n_tokens * (size_t)c->width, sizeof *hidden);
    mosa_model_options options = {.path = model_path, .max_rows = c->n_tokens, .max_outputs = PROMPTS_MAX};
    mosa_batch batch = {.rows = c->n_tokens, .n_segments = c->n_prompts, .segments = c->segments};
    mosa_status status = mosa_model_open(backend, &options, &model, &err);
    if (status == MOSA_OK) status = mosa_model_encode(model, c->tokens, c->positions, c->types, &batch, &err);
    if (status == MOSA_OK) status = mosa_model_normed(model, NULL, c->n_tokens, hidden, &err);
    double noise = INFINITY, worst = INFINITY;
    if (status == MOSA_OK)
        worst = compare(c, variant, "hidden", hidden, (size_t)c->n_tokens * (size_t)c->width, &noise);
    else
        printf("      %s\n", err.message);
    bool quantised = strcmp(name, "q8_0") == 0;
    report(c, name, "hidden", quantised ? noise <= 0.06 : worst <= 1e-4, quantised ? noise : worst);
    mosa_model_close(model);
}

static void take_events(answers *a, int n, const mosa_event *events, int n_events) {
    for (int e = 0; e < n_events; e++)
        for (int i = 0; i < n; i++) {
            if (events[e].request != a->ids[i] || events[e].finish == MOSA_FINISH_NONE) continue;
            if (events[e].embedding) memcpy(a->embeddings[i], events[e].embedding, (size_t)a->width * sizeof(float));
            a->scores[i] = events[e].score;
            a->n_done += events[e].finish == MOSA_FINISH_STOP;
        }
}

// Prompts [begin, begin + n), all at once.
static bool ask(mosa_engine *engine, const golden_case *c, mosa_request_kind kind, int begin, int n, answers *a) {
    mosa_error err = {0};
    *a = (answers){.width = c->width};
    for (int i = 0; i < n; i++) {
        mosa_request request = mosa_request_default();
        const mosa_segment *segment = &c->segments[begin + i];
        request.kind = kind;
        request.tokens = c->tokens + segment->row_begin;
        request.n_tokens = (size_t)segment->row_count;
        request.n_first = (size_t)c->first[begin + i];
        if (mosa_engine_submit(engine, &request, &a->ids[i], &err) != MOSA_OK) {
            printf("      %s\n", err.message);
            return false;
        }
    }
    for (int steps = 0; a->n_done < n && steps < 100; steps++) {
        const mosa_event *events;
        int n_events;
        if (mosa_engine_step(engine, 0, &events, &n_events, &err) != MOSA_OK) return false;
        take_events(a, n, events, n_events);
    }
    return a->n_done == n;
}

static void check_answers(mosa_engine *engine, const golden_case *c, const json_t *variant, const char *what,
                          mosa_request_kind kind) {
    static answers together, alone;
    const char *name = json_string_value(json_object_get(variant, "variant"));
    static float values[PROMPTS_MAX * 512];
    bool embeds = kind == MOSA_EMBED, same = true;
    size_t each = embeds ? (size_t)c->width : 1;
    if (!ask(engine, c, kind, 0, c->n_prompts, &together)) {
        report(c, name, what, false, 0);
        return;
    }
    for (int i = 0; i < c->n_prompts; i++) {
        const float *got = embeds ? together.embeddings[i] : &together.scores[i];
        memcpy(values + (size_t)i * each, got, each * sizeof(float));
        same = ask(engine, c, kind, i, 1, &alone) && same;
        same = same && memcmp(got, embeds ? alone.embeddings[0] : alone.scores, each * sizeof(float)) == 0;
    }
    double noise = INFINITY, worst = compare(c, variant, what, values, (size_t)c->n_prompts * each, &noise);
    bool quantised = strcmp(name, "q8_0") == 0;
    report(c, name, what, quantised ? noise <= 0.06 : worst <= 1e-4, quantised ? noise : worst);
    report(c, name, "alone to the same bits", same, 0);
}

static void check_engine(const golden_case *c, const json_t *variant, const char *model_path) {
    const char *name = json_string_value(json_object_get(variant, "variant"));
    mosa_engine *engine;
    mosa_error err = {0};
    mosa_engine_options options = {.model = model_path, .device = device, .max_sequences = PROMPTS_MAX};
    if (mosa_engine_open(&options, &engine, &err) != MOSA_OK) {
        printf("      %s\n", err.message);
        report(c, name, "opens", false, 0);
        return;
    }
    bool scores = json_object_get(variant, "scores") != NULL;
    // A cross-encoder's file says nothing of embeddings.
    if (!scores) check_answers(engine, c, variant, "embeddings", MOSA_EMBED);
    if (scores) check_answers(engine, c, variant, "scores", MOSA_SCORE);
    mosa_request request = mosa_request_default();
    uint64_t id;
    request.tokens = c->tokens;
    request.n_tokens = 2;
    report(c, name, "generates nothing", mosa_engine_submit(engine, &request, &id, &err) == MOSA_EUNSUPPORTED, 0);
    mosa_engine_close(engine);
}

static void add_prompt(golden_case *c, const json_t *ids, int32_t first) {
    mosa_segment *segment = &c->segments[c->n_prompts];
    c->first[c->n_prompts++] = first;
    *segment = (mosa_segment){.row_begin = c->n_tokens};
    size_t i;
    json_t *id;
    json_array_foreach(ids, i, id) {
        if (c->n_tokens == TOKENS_MAX) return;
        c->tokens[c->n_tokens] = (int32_t)json_integer_value(id);
        c->positions[c->n_tokens] = (int32_t)i;
        c->types[c->n_tokens++] = first > 0 && (int32_t)i >= first;
        segment->row_count++;
    }
}

static void check_case(mosa_backend *backend, const char *root, const char *name) {
    golden_case *c = calloc(1, sizeof *c);
    char path[2 * PATH_BYTES];
    json_t *expected = NULL, *item;
    mosa_error err;
    size_t i;
    snprintf(c->folder, sizeof c->folder, "%s/%s", root, name);
    snprintf(path, sizeof path, "%s/expected.json", c->folder);
    if (mosa_json_load(path, NULL, &expected, &err) != MOSA_OK) printf("      %s\n", err.message);
    c->width = (int)json_integer_value(json_object_get(expected, "width"));
    json_array_foreach(json_object_get(expected, "prompts"), i, item) if (c->n_prompts < PROMPTS_MAX)
        add_prompt(c, item, (int32_t)json_integer_value(json_array_get(json_object_get(expected, "first"), i)));
    json_array_foreach(json_object_get(expected, "variants"), i, item) {
        const char *model = json_string_value(json_object_get(item, "model"));
        snprintf(path, sizeof path, "%s/%s", c->folder, strcmp(model, ".") == 0 ? "" : model);
        check_hidden(backend, c, item, path);
        check_engine(c, item, path);
    }
    json_decref(expected);
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
        check_root(backend, MOSA_SOURCE_ROOT "/tests/golden/encoders");
        check_root(backend, MOSA_SOURCE_ROOT "/build/golden/encoders");
    }
    backend->ops->destroy(backend);
    printf("%d passed, %d failed\n", passed, failed);
    return failed || !passed;
}
