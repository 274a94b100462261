// A trainer's state into a checkpoint and out of it.
#include "train/trainer_internal.h"

#include "base/file.h"
#include "base/log.h"
#include "codec/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { CARRIED_BYTES_MAX = 64 << 20, CARRIED_MAX = 16 };

static uint64_t mix(uint64_t hash, uint64_t value) {
    return mosa_hash_bytes(&value, sizeof value, hash);
}

uint64_t mosa_trainer_fingerprint(const mosa_trainer *t) {
    uint64_t hash = 1;
    for (size_t i = 0; i < t->options.n_stores; i++) {
        hash = mix(hash, mosa_store_get_info(t->options.stores[i])->key);
        hash = mix(hash, mosa_store_get_info(t->options.stores[i])->n_examples);
    }
    hash = mix(hash, (uint64_t)(t->config->data_seed >= 0 ? t->config->data_seed : t->config->seed));
    hash = mix(hash, (uint64_t)t->config->per_device_train_batch_size);
    hash = mix(hash, (uint64_t)t->config->disable_shuffling);
    return mix(hash, (uint64_t)(t->config->packing || t->plan->stage == MOSA_TRAIN_PT));
}

// --- trainer_state.json -------------------------------------------------------------------------------------------

void mosa_trainer_state_text(const mosa_trainer *t, double epoch, mosa_buf *out) {
    char best[64];
    snprintf(best, sizeof best, "checkpoint-%lld", (long long)t->best_step);
    mosa_trainer_state state = {.global_step = t->number,
                                .max_steps = t->cost.total_steps,
                                .epoch = epoch,
                                .num_train_epochs = t->cost.epochs,
                                .train_batch_size = t->config->per_device_train_batch_size,
                                .logging_steps = t->config->logging_steps,
                                .save_steps = t->config->save_steps,
                                .eval_steps = t->config->eval_steps,
                                .num_input_tokens_seen = (int64_t)t->tokens,
                                .total_flos = t->flops,
                                .best_metric = t->best_metric,
                                .best_model_checkpoint = t->best_step >= 0 ? best : NULL,
                                .best_global_step = t->best_step >= 0 ? t->best_step : 0};
    mosa_run_log_state(t->log, &state, out);
}

// --- saving -------------------------------------------------------------------------------------------------------

static json_t *doubles(const double *values, size_t n) {
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *value = isfinite(values[i]) ? json_real(values[i]) : json_null();
        if (json_array_append_new(array, value) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static json_t *state_of(const mosa_trainer *t, double epoch) {
    mosa_loader_position at = mosa_loader_get_position(t->options.loader);
    const double numbers[] = {t->tokens,      t->flops,       t->all_loss, t->all_steps,
                              t->best_metric, t->window_loss, epoch,       t->metric};
    char fingerprint[32];
    snprintf(fingerprint, sizeof fingerprint, "%016llx", (unsigned long long)mosa_trainer_fingerprint(t));
    return json_pack("{s:I, s:I, s:I, s:s, s:{s:I, s:I, s:I}, s:{s:I, s:I, s:I, s:o}, s:I, s:I, s:o, s:o}", "step",
                     (json_int_t)t->number, "optimizer_steps", (json_int_t)mosa_optimizer_steps(t->optimizer), "seed",
                     (json_int_t)t->config->seed, "data", fingerprint, "position", "epoch", (json_int_t)at.epoch,
                     "window", (json_int_t)at.window, "batch", (json_int_t)at.batch, "guard", "accepted",
                     (json_int_t)t->guard.accepted, "skipped", (json_int_t)t->guard.skipped, "in_row",
                     (json_int_t)t->guard.skips_in_row, "losses", doubles(t->guard.losses, MOSA_GUARD_WINDOW_MAX),
                     "best_step", (json_int_t)t->best_step, "window_steps", (json_int_t)t->window_steps, "numbers",
                     doubles(numbers, MOSA_COUNT(numbers)), "window",
                     doubles((const double *)&t->window, MOSA_TRAIN_SUMS));
}

typedef struct carried {
    mosa_checkpoint_file items[CARRIED_MAX + 1];
    char *bytes[CARRIED_MAX];
    size_t count, n_bytes;
} carried;

// Files that make a checkpoint a model's folder of its own. One that cannot be read is left out.
static void carry(const mosa_trainer *t, carried *c) {
    for (size_t i = 0; i < t->options.n_files && c->n_bytes < CARRIED_MAX; i++) {
        size_t len = 0;
        const char *path = t->options.files[i];
        if (mosa_file_read(path, CARRIED_BYTES_MAX, &c->bytes[c->n_bytes], &len, NULL) != MOSA_OK) continue;
        c->items[c->count++] = (mosa_checkpoint_file){mosa_path_base(path), {c->bytes[c->n_bytes++], len}};
    }
}

static mosa_status begin_save(mosa_trainer *t, double epoch, mosa_buf *text, json_t *state, mosa_error *err) {
    carried files = {0};
    size_t n_moments = mosa_optimizer_tensor_count(t->optimizer);
    for (size_t i = 0; i < t->params->count; i++) t->tensors[i] = mosa_params_tensor(t->params, i, t->weights);
    mosa_trainer_state_text(t, epoch, text);
    carry(t, &files);
    files.items[files.count++] = (mosa_checkpoint_file){"trainer_state.json", mosa_buf_slice(text)};
    mosa_checkpoint_content content = {.step = t->number,
                                       .metric = t->metric,
                                       .weights = t->tensors,
                                       .n_weights = t->params->count,
                                       .moments = n_moments ? mosa_optimizer_tensor_at(t->optimizer, 0) : NULL,
                                       .n_moments = n_moments,
                                       .state = state,
                                       .files = files.items,
                                       .n_files = files.count};
    mosa_status status = mosa_buf_failed(text) ? mosa_fail(err, MOSA_ENOMEM, "out of memory for a checkpoint")
                                               : mosa_checkpoint_saver_save(t->saver, &content, err);
    for (size_t i = 0; i < files.n_bytes; i++) free(files.bytes[i]);
    return status;
}

mosa_status mosa_trainer_save(mosa_trainer *t, double epoch, mosa_error *err) {
    if (!t->saver || t->saved_step == t->number) return MOSA_OK;
    mosa_error earlier = {0};
    if (mosa_checkpoint_saver_wait(t->saver, &earlier) != MOSA_OK && t->options.watch.note) {
        char note[MOSA_ERROR_MESSAGE_MAX + 64];
        snprintf(note, sizeof note, "a checkpoint could not be saved, training goes on: %s", earlier.message);
        t->options.watch.note(t->options.watch.user, note);
    }
    mosa_buf text = {0};
    json_t *state = state_of(t, epoch);
    mosa_status status =
        state ? begin_save(t, epoch, &text, state, err) : mosa_fail(err, MOSA_ENOMEM, "out of memory for a checkpoint");
    if (status == MOSA_OK) t->saved_step = t->number;
    json_decref(state);
    mosa_buf_finish(&text);
    return status;
}

// --- restoring ----------------------------------------------------------------------------------------------------

mosa_status mosa_trainer_find_resume(mosa_trainer *t, mosa_error *err) {
    const char *from = t->config->resume_from_checkpoint;
    if (strcmp(from, "none") == 0 || strcasecmp(from, "false") == 0) return MOSA_OK;
    bool automatic = strcmp(from, "auto") == 0 || strcasecmp(from, "true") == 0;
    if (automatic && t->config->overwrite_output_dir) return MOSA_OK;
    mosa_status status = automatic ? mosa_checkpoint_open_latest(t->config->output_dir, &t->resume, err)
                                   : mosa_checkpoint_open(from, &t->resume, err);
    return automatic && status == MOSA_ENOTFOUND ? MOSA_OK : status;
}

static int64_t integer(const json_t *object, const char *key) {
    return json_integer_value(json_object_get(object, key));
}

static void read_doubles(const json_t *array, double *out, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(array, i);
        out[i] = json_is_number(value) ? json_number_value(value) : NAN;
    }
}

static mosa_status read_state(mosa_trainer *t, const json_t *state, mosa_error *err) {
    const json_t *position = json_object_get(state, "position"), *guard = json_object_get(state, "guard");
    double numbers[8];
    read_doubles(json_object_get(state, "numbers"), numbers, MOSA_COUNT(numbers));
    read_doubles(json_object_get(state, "window"), (double *)&t->window, MOSA_TRAIN_SUMS);
    read_doubles(json_object_get(guard, "losses"), t->guard.losses, MOSA_GUARD_WINDOW_MAX);
    t->tokens = numbers[0], t->flops = numbers[1], t->all_loss = numbers[2], t->all_steps = numbers[3];
    t->best_metric = numbers[4], t->window_loss = numbers[5];
    t->number = integer(state, "step");
    t->best_step = integer(state, "best_step");
    t->window_steps = integer(state, "window_steps");
    t->guard.accepted = integer(guard, "accepted");
    t->guard.skipped = integer(guard, "skipped");
    t->guard.skips_in_row = (int)integer(guard, "in_row");
    mosa_optimizer_set_steps(t->optimizer, integer(state, "optimizer_steps"));
    mosa_loader_position at = {(uint64_t)integer(position, "epoch"), (uint64_t)integer(position, "window"),
                               (uint64_t)integer(position, "batch")};
    return mosa_loader_set_position(t->options.loader, at, err);
}

static mosa_status read_weights(mosa_trainer *t, const mosa_checkpoint *checkpoint, mosa_error *err) {
    for (size_t i = 0; i < t->params->count; i++) {
        mosa_train_tensor tensor = mosa_params_tensor(t->params, i, t->weights);
        MOSA_TRY(mosa_checkpoint_read(checkpoint, &tensor, err));
    }
    return MOSA_OK;
}

mosa_status mosa_trainer_restore(mosa_trainer *t, mosa_error *err) {
    const json_t *state = mosa_checkpoint_state(t->resume);
    const char *data = json_string_value(json_object_get(state, "data"));
    char expected[32];
    snprintf(expected, sizeof expected, "%016llx", (unsigned long long)mosa_trainer_fingerprint(t));
    if (!data || strcmp(data, expected) != 0) {
        (void)!mosa_fail(err, MOSA_EINVALID, "%s: was saved with other data, batches or data seed",
                         mosa_checkpoint_path(t->resume));
        return mosa_hint(err, "overwrite_output_dir: true begins anew; another output_dir keeps both");
    }
    MOSA_TRY(read_weights(t, t->resume, err));
    for (size_t i = 0; i < mosa_optimizer_tensor_count(t->optimizer); i++)
        MOSA_TRY(mosa_checkpoint_read(t->resume, mosa_optimizer_tensor_at(t->optimizer, i), err));
    MOSA_TRY(read_state(t, state, err));
    t->saved_step = t->number;
    mosa_checkpoint_close(t->resume);
    t->resume = NULL;
    return MOSA_OK;
}

mosa_status mosa_trainer_restore_best(mosa_trainer *t, mosa_error *err) {
    char folder[4096];
    mosa_checkpoint *best = NULL;
    if (t->best_step < 0 || t->best_step == t->number) return MOSA_OK;
    snprintf(folder, sizeof folder, "%s/checkpoint-%lld", t->config->output_dir, (long long)t->best_step);
    MOSA_TRY(mosa_checkpoint_open(folder, &best, err));
    mosa_status status = read_weights(t, best, err);
    mosa_checkpoint_close(best);
    return status;
}
