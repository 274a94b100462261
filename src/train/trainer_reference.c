// Log-probabilities of the reference, once for each example, kept in the run's folder.
//
// LoRA: the base without its adapter. Otherwise the model as it was before the first step: the caller asks before
// weights are restored from a checkpoint.
#include "base/file.h"
#include "base/out_file.h"
#include "train/trainer_internal.h"

#include <stdio.h>
#include <stdlib.h>

enum { FILE_BYTES_MAX = 1 << 30 };

typedef struct gathering {
    mosa_trainer *t;
    const mosa_store *store;
    float *out; // (n_examples)
    int32_t *tokens, *labels, *ids;
    float *weight;
    int32_t rows, n_segments;
    uint64_t first; // example of segment 0
    uint64_t done_before, total;
} gathering;

static mosa_status flush(gathering *g, mosa_error *err) {
    mosa_trainer *t = g->t;
    const mosa_step_stats *stats;
    if (g->n_segments == 0) return MOSA_OK;
    mosa_step_batch batch = {.rows = g->rows,
                             .tokens = g->tokens,
                             .labels = g->labels,
                             .n_segments = g->n_segments,
                             .segments = t->segments};
    MOSA_TRY(t->plan->lora ? mosa_step_reference(t->step, &batch, &stats, err)
                           : mosa_step_forward(t->step, &batch, &stats, err));
    for (int32_t i = 0; i < g->n_segments; i++) {
        double sum = 0;
        for (int32_t row = t->segments[i].row_begin, end = row + t->segments[i].row_count; row < end; row++)
            if (g->labels[row] >= 0) sum += stats[row].logp;
        g->out[g->first + (uint64_t)i] = (float)sum;
    }
    g->first += (uint64_t)g->n_segments;
    g->rows = g->n_segments = 0;
    t->progress.doing = "reference";
    t->progress.part = (int64_t)(g->done_before + g->first);
    t->progress.n_parts = (int64_t)g->total;
    if (t->options.watch.progress) t->options.watch.progress(t->options.watch.user, &t->progress);
    return MOSA_OK;
}

static mosa_status gather(gathering *g, mosa_error *err) {
    uint64_t n = mosa_store_get_info(g->store)->n_examples;
    for (uint64_t e = 0; e < n; e++) {
        mosa_train_example example;
        int32_t rows = mosa_store_length(g->store, e) - 1;
        if (rows > g->t->max_rows)
            return mosa_fail(err, MOSA_EINVALID, "example %llu has %d tokens, a batch holds %d", (unsigned long long)e,
                             rows + 1, g->t->max_rows);
        if (g->rows + rows > g->t->max_rows) MOSA_TRY(flush(g, err));
        MOSA_TRY(mosa_store_read(g->store, e, g->ids, g->weight, &example, err));
        g->t->segments[g->n_segments++] = (mosa_step_segment){g->rows, rows};
        for (int32_t i = 0; i < rows; i++, g->rows++) {
            g->tokens[g->rows] = g->ids[i];
            g->labels[g->rows] = g->weight[i + 1] != 0 ? g->ids[i + 1] : -1;
        }
    }
    return flush(g, err);
}

static mosa_status compute(mosa_trainer *t, const mosa_store *store, uint64_t done_before, uint64_t total, float *out,
                           mosa_error *err) {
    size_t room = (size_t)t->max_rows + 1;
    int32_t *memory = malloc(3 * room * sizeof *memory);
    float *weight = malloc(room * sizeof *weight);
    gathering g = {.t = t, .store = store, .out = out, .done_before = done_before, .total = total};
    g.tokens = memory, g.weight = weight;
    mosa_status status = MOSA_OK;
    if (memory && weight) {
        g.labels = memory + room, g.ids = memory + 2 * room;
        status = gather(&g, err);
    } else {
        status = mosa_fail(err, MOSA_ENOMEM, "out of memory for reference log-probabilities");
    }
    free(memory);
    free(weight);
    return status;
}

// --- the file: fingerprint, then floats ---------------------------------------------------------------------------

static bool load(const char *path, uint64_t fingerprint, float *out, uint64_t n) {
    MOSA_AUTO_FREE char *bytes = NULL;
    size_t len = 0;
    if (mosa_file_read(path, FILE_BYTES_MAX, &bytes, &len, NULL) != MOSA_OK) return false;
    if (len != sizeof fingerprint + n * sizeof *out || memcmp(bytes, &fingerprint, sizeof fingerprint) != 0)
        return false;
    memcpy(out, bytes + sizeof fingerprint, n * sizeof *out);
    return true;
}

static mosa_status store_file(const char *path, uint64_t fingerprint, const float *values, uint64_t n,
                              mosa_error *err) {
    mosa_buf text = {0};
    mosa_buf_append(&text, &fingerprint, sizeof fingerprint);
    mosa_buf_append(&text, values, n * sizeof *values);
    mosa_status status = mosa_buf_failed(&text) ? mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path)
                                                : mosa_out_file_save(path, text.data, text.len, err);
    mosa_buf_finish(&text);
    return status;
}

static mosa_status fill(mosa_trainer *t, const mosa_store *const *stores, size_t count, const char *name, float ***all,
                        mosa_error *err) {
    uint64_t total = 0, done = 0;
    *all = calloc(count + 1, sizeof **all);
    if (!*all) return mosa_fail(err, MOSA_ENOMEM, "out of memory for reference log-probabilities");
    for (size_t s = 0; s < count; s++) total += mosa_store_get_info(stores[s])->n_examples;
    for (size_t s = 0; s < count; s++) {
        uint64_t n = mosa_store_get_info(stores[s])->n_examples;
        uint64_t fingerprint = mosa_trainer_fingerprint(t) ^ mosa_store_get_info(stores[s])->key;
        MOSA_AUTO_FREE char *path = NULL;
        (*all)[s] = calloc(n + 1, sizeof(float));
        if (!(*all)[s] || asprintf(&path, "%s/%s-%zu.bin", t->config->output_dir, name, s) < 0)
            return mosa_fail(err, MOSA_ENOMEM, "out of memory for reference log-probabilities");
        if (!load(path, fingerprint, (*all)[s], n)) {
            MOSA_TRY(compute(t, stores[s], done, total, (*all)[s], err));
            MOSA_TRY(store_file(path, fingerprint, (*all)[s], n, err));
        }
        done += n;
    }
    return MOSA_OK;
}

mosa_status mosa_trainer_references(mosa_trainer *t, mosa_error *err) {
    if (!(t->pairs || t->labelled) || !mosa_preference_needs_reference(t->preference.kind)) return MOSA_OK;
    MOSA_TRY(fill(t, t->options.stores, t->options.n_stores, "reference", &t->reference, err));
    return fill(t, t->options.eval_stores, t->options.n_eval_stores, "reference-eval", &t->eval_reference, err);
}
