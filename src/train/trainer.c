// The loop, and what is allocated before it.
#include "train/trainer.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/out_file.h"
#include "train/trainer_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>

enum { SPIKE_WINDOW = 64 };

// --- making -------------------------------------------------------------------------------------------------------

static mosa_preference preference_of(const mosa_train_config *c, mosa_train_stage stage) {
    mosa_preference p = {.beta = c->pref_beta,
                         .gamma = c->simpo_gamma,
                         .smoothing = c->dpo_label_smoothing,
                         .chosen_share = c->pref_ftx,
                         .good_weight = c->kto_chosen_weight,
                         .bad_weight = c->kto_rejected_weight};
    if (strcmp(c->pref_loss, "hinge") == 0) p.kind = MOSA_PREFERENCE_HINGE;
    if (strcmp(c->pref_loss, "ipo") == 0) p.kind = MOSA_PREFERENCE_IPO;
    if (strcmp(c->pref_loss, "robust") == 0) p.kind = MOSA_PREFERENCE_ROBUST;
    if (stage == MOSA_TRAIN_ORPO) p.kind = MOSA_PREFERENCE_ORPO;
    if (stage == MOSA_TRAIN_SIMPO) p.kind = MOSA_PREFERENCE_SIMPO;
    if (stage == MOSA_TRAIN_KTO) p.kind = MOSA_PREFERENCE_KTO;
    return p;
}

static mosa_status add_epoch(mosa_trainer *t, int64_t *capacity, mosa_error *err) {
    uint64_t batches;
    const int64_t e = t->n_epochs, per_step = t->config->gradient_accumulation_steps;
    if (e == *capacity) {
        *capacity = *capacity ? 2 * *capacity : 16;
        int64_t *steps = realloc(t->epoch_steps, (size_t)*capacity * sizeof *steps);
        if (steps) t->epoch_steps = steps;
        int64_t *counts = realloc(t->epoch_batches, (size_t)*capacity * sizeof *counts);
        if (counts) t->epoch_batches = counts;
        if (!steps || !counts) return mosa_fail(err, MOSA_ENOMEM, "out of memory for %lld epochs", (long long)e);
    }
    MOSA_TRY(mosa_loader_epoch_batches(t->options.loader, (uint64_t)e, &batches, err));
    if (batches == 0) return mosa_fail(err, MOSA_EINVALID, "the data makes no batch");
    t->epoch_batches[e] = (int64_t)batches;
    t->epoch_steps[e] = ((int64_t)batches + per_step - 1) / per_step;
    t->n_epochs++;
    return MOSA_OK;
}

static mosa_status count_steps(mosa_trainer *t, mosa_error *err) {
    const mosa_train_config *c = t->config;
    int64_t total = 0, capacity = 0;
    double epochs = c->max_steps > 0 ? INFINITY : c->num_train_epochs;
    for (int64_t e = 0; (double)e < epochs && (c->max_steps <= 0 || total < c->max_steps); e++) {
        MOSA_TRY(add_epoch(t, &capacity, err));
        double share = epochs - (double)e;
        total += share < 1 ? (int64_t)ceil(share * (double)t->epoch_steps[e]) : t->epoch_steps[e];
    }
    t->cost.batches_per_epoch = (uint64_t)t->epoch_batches[0];
    t->cost.total_steps = c->max_steps > 0 ? c->max_steps : total;
    t->cost.epochs = c->max_steps > 0 ? (double)t->n_epochs : c->num_train_epochs;
    return MOSA_OK;
}

static bool saves(const mosa_trainer *t) {
    return strcmp(t->config->save_strategy, "no") != 0;
}

static mosa_status check_disk(mosa_trainer *t, mosa_error *err) {
    mosa_train_cost *cost = &t->cost;
    struct statvfs disk;
    cost->optimizer_bytes = mosa_optimizer_state_bytes(t->optimizer);
    cost->checkpoint_bytes = mosa_checkpoint_bytes(t->params, cost->optimizer_bytes);
    int64_t kept = t->config->save_total_limit ? t->config->save_total_limit + t->config->save_best_limit
                                               : cost->total_steps / t->config->save_steps;
    int64_t most = strcmp(t->config->save_strategy, "steps") == 0 ? cost->total_steps / t->config->save_steps + 1
                                                                  : t->n_epochs + 1;
    cost->checkpoints = saves(t) ? (kept < most ? kept : most) + 1 : 0;
    cost->disk_needed = cost->checkpoint_bytes * (uint64_t)cost->checkpoints +
                        (uint64_t)t->params->n_trained * sizeof(float); // the result
    if (statvfs(t->config->output_dir, &disk) != 0) return MOSA_OK;
    cost->disk_free = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (cost->disk_needed <= cost->disk_free || t->resume) return MOSA_OK;
    (void)!mosa_fail(err, MOSA_EIO, "%s: checkpoints and the result take %.2f GB, the disk has %.2f GB free",
                     t->config->output_dir, (double)cost->disk_needed * 1e-9, (double)cost->disk_free * 1e-9);
    return mosa_hint(err, "save_total_limit and save_best_limit say how many are kept");
}

static mosa_status allocate(mosa_trainer *t, mosa_error *err) {
    size_t rows = (size_t)t->max_rows + 1;
    t->coef = calloc(rows, sizeof *t->coef);
    t->slopes = calloc(rows, sizeof *t->slopes);
    t->segments = calloc(rows, sizeof *t->segments);
    t->answers = calloc(rows, sizeof *t->answers);
    t->kl_tokens = calloc(rows, sizeof *t->kl_tokens);
    t->kl_labels = calloc(rows, sizeof *t->kl_labels);
    t->tensors = calloc(t->params->count + 1, sizeof *t->tensors);
    if (!t->coef || !t->slopes || !t->segments || !t->answers || !t->kl_tokens || !t->kl_labels || !t->tensors)
        return mosa_fail(err, MOSA_ENOMEM, "out of memory for batches");
    MOSA_TRY(mosa_pool_create(t->options.threads, &t->pool, err));
    MOSA_TRY(mosa_grad_norm_init(&t->norm, t->params, err));
    return mosa_optimizer_create(&t->plan->optimizer, t->params, t->pool, &t->optimizer, err);
}

static mosa_status prepare(mosa_trainer *t, mosa_error *err) {
    MOSA_TRY(allocate(t, err));
    MOSA_TRY(count_steps(t, err));
    MOSA_TRY(mosa_trainer_find_resume(t, err));
    if (t->resume) t->cost.first_step = mosa_checkpoint_step(t->resume);
    t->cost.memory = mosa_step_memory_of(t->step);
    return check_disk(t, err);
}

mosa_status mosa_trainer_create(const mosa_trainer_options *options, mosa_trainer **out, mosa_error *err) {
    mosa_trainer *t = calloc(1, sizeof *t);
    if (!t) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a trainer");
    t->options = *options;
    t->config = options->config;
    t->plan = options->plan;
    t->step = options->step;
    t->params = mosa_step_params(t->step);
    t->weights = mosa_step_weights(t->step);
    t->grads = mosa_step_grads(t->step);
    t->max_rows = options->max_rows;
    t->preference = preference_of(t->config, t->plan->stage);
    t->labelled = t->plan->stage == MOSA_TRAIN_KTO;
    t->pairs = t->plan->stage >= MOSA_TRAIN_DPO && !t->labelled;
    t->best_metric = t->metric = t->progress.loss = t->progress.seconds_left = NAN;
    t->best_step = t->saved_step = -1;
    mosa_guard_init(&t->guard, t->config->loss_spike_z, SPIKE_WINDOW, (int)t->config->skipped_steps_max);
    mosa_status status = prepare(t, err);
    if (status == MOSA_OK)
        *out = t;
    else
        mosa_trainer_destroy(t);
    return status;
}

static void free_all(float **arrays, size_t count) {
    for (size_t i = 0; arrays && i < count; i++) free(arrays[i]);
    free(arrays);
}

void mosa_trainer_destroy(mosa_trainer *t) {
    if (!t) return;
    mosa_checkpoint_saver_destroy(t->saver);
    mosa_checkpoint_close(t->resume);
    mosa_run_log_close(t->log);
    mosa_optimizer_destroy(t->optimizer);
    mosa_grad_norm_finish(&t->norm);
    mosa_pool_destroy(t->pool);
    free_all(t->reference, t->options.n_stores);
    free_all(t->eval_reference, t->options.n_eval_stores);
    free(t->epoch_steps);
    free(t->epoch_batches);
    free(t->coef);
    free(t->slopes);
    free(t->segments);
    free(t->answers);
    free(t->kl_tokens);
    free(t->kl_labels);
    free(t->tensors);
    free(t);
}

const mosa_train_cost *mosa_trainer_cost(const mosa_trainer *t) {
    return &t->cost;
}

// --- position -----------------------------------------------------------------------------------------------------

// Epochs done after `number` steps, as a fraction; *at_end: the last step was an epoch's last.
static double epoch_of(const mosa_trainer *t, int64_t number, bool *at_end) {
    *at_end = false;
    for (int64_t e = 0; e < t->n_epochs; e++) {
        if (number <= t->epoch_steps[e]) {
            *at_end = number == t->epoch_steps[e];
            return (double)e + (double)number / (double)t->epoch_steps[e];
        }
        number -= t->epoch_steps[e];
    }
    return (double)t->n_epochs;
}

// --- one step -----------------------------------------------------------------------------------------------------

static void report(mosa_trainer *t) {
    bool at_end;
    mosa_train_progress *p = &t->progress;
    double seconds = (double)(mosa_clock_ns() - t->window_ns - t->idle_ns) * 1e-9;
    p->doing = "train";
    p->step = t->number;
    p->total_steps = t->cost.total_steps;
    p->epoch = epoch_of(t, t->number, &at_end);
    p->tokens = (int64_t)t->tokens;
    if (seconds > 0 && t->window.rows > 0) {
        p->tokens_per_s = t->window.rows / seconds;
        p->share_of_peak = t->options.peak_f32 > 0 ? t->window.flops / seconds / t->options.peak_f32 : 0;
    }
    int64_t done = t->number - t->cost.first_step;
    double passed = (double)(mosa_clock_ns() - t->began_ns) * 1e-9;
    if (done > 0) p->seconds_left = passed / (double)done * (double)(t->cost.total_steps - t->number);
    if (t->options.watch.progress) t->options.watch.progress(t->options.watch.user, p);
}

// Batches of the step that comes next.
static int64_t batches_of_step(const mosa_trainer *t) {
    int64_t number = t->number, e = 0, per_step = t->config->gradient_accumulation_steps;
    while (e < t->n_epochs && number >= t->epoch_steps[e]) number -= t->epoch_steps[e++];
    if (e == t->n_epochs) return per_step;
    int64_t left = t->epoch_batches[e] - number * per_step;
    return left < per_step ? left : per_step;
}

// Gradients of all batches of a step.
static mosa_status accumulate(mosa_trainer *t, mosa_train_sums *sums, mosa_error *err) {
    mosa_data_batch batch;
    memset(t->grads, 0, t->params->elements * sizeof *t->grads);
    for (int64_t i = 0, n = batches_of_step(t); i < n; i++) {
        mosa_train_sums one = {0};
        MOSA_TRY(mosa_loader_next(t->options.loader, &batch, err));
        MOSA_TRY(mosa_trainer_batch(t, &batch, t->reference, false, &one, err));
        mosa_train_sums_add(sums, &one);
        mosa_train_sums_add(&t->window, &one);
        t->tokens += one.rows;
        t->flops += one.flops;
        report(t);
    }
    return MOSA_OK;
}

// After every step, skipped ones too, so that rounding is a function of the weights and the step's number.
static mosa_status refresh(mosa_trainer *t, int64_t number, mosa_error *err) {
    return mosa_step_refresh(t->step, t->config->pure_bf16, (uint64_t)t->config->seed, (uint64_t)number, err);
}

static mosa_status apply(mosa_trainer *t, const mosa_train_sums *sums, double loss, mosa_error *err) {
    double scale = sums->weight > 0 ? 1 / sums->weight : 0;
    bool skip;
    mosa_grad_norm_compute(&t->norm, t->params, t->pool, t->grads, scale);
    MOSA_TRY(mosa_guard_check(&t->guard, t->number + 1, loss, t->params, &t->norm, &skip, err));
    t->progress.grad_norm = t->norm.total;
    t->progress.learning_rate = t->config->learning_rate * mosa_schedule_factor(&t->plan->schedule, t->number);
    if (skip) {
        if (t->options.watch.note) t->options.watch.note(t->options.watch.user, t->guard.message);
        return refresh(t, t->number, err);
    }
    uint64_t begin = mosa_clock_ns();
    if (t->saver) mosa_checkpoint_saver_settle(t->saver);
    t->idle_ns += mosa_clock_ns() - begin;
    float clip = mosa_clip_factor(t->norm.total, t->config->max_grad_norm);
    mosa_optimizer_step(t->optimizer, t->weights, t->grads, (float)t->progress.learning_rate, (float)(scale * clip));
    return refresh(t, t->number, err);
}

static mosa_status one_step(mosa_trainer *t, mosa_error *err) {
    mosa_train_sums sums = {0};
    MOSA_TRY(accumulate(t, &sums, err));
    double loss = sums.weight > 0 ? sums.loss / sums.weight : 0;
    MOSA_TRY(apply(t, &sums, loss, err));
    t->number++;
    t->progress.loss = loss;
    if (isfinite(loss)) {
        t->window_loss += loss;
        t->window_steps++;
        t->all_loss += loss;
        t->all_steps++;
    }
    return MOSA_OK;
}

// --- what follows a step ------------------------------------------------------------------------------------------

static mosa_status log_row(mosa_trainer *t, double epoch, mosa_error *err) {
    mosa_scalar row[MOSA_RUN_LOG_SCALARS_MAX];
    size_t n = 0;
    report(t);
    row[n++] = (mosa_scalar){"loss", t->window_steps ? t->window_loss / (double)t->window_steps : NAN};
    row[n++] = (mosa_scalar){"grad_norm", t->progress.grad_norm};
    row[n++] = (mosa_scalar){"learning_rate", t->progress.learning_rate};
    n += mosa_trainer_scalars(t, &t->window, false, row + n);
    row[n++] = (mosa_scalar){"tokens_per_second", t->progress.tokens_per_s};
    if (t->progress.share_of_peak > 0) row[n++] = (mosa_scalar){"share_of_peak", t->progress.share_of_peak};
    row[n++] = (mosa_scalar){"total_tokens", t->tokens};
    MOSA_TRY(mosa_run_log_add(t->log, t->number, epoch, row, n, err));
    if (t->options.watch.logged) t->options.watch.logged(t->options.watch.user, t->number, epoch, row, n);
    t->window = (mosa_train_sums){0};
    t->window_loss = 0;
    t->window_steps = 0;
    t->window_ns = mosa_clock_ns();
    t->idle_ns = 0;
    return MOSA_OK;
}

static bool due(const char *strategy, int64_t every, int64_t number, bool epoch_end) {
    if (strcmp(strategy, "epoch") == 0) return epoch_end;
    return strcmp(strategy, "steps") == 0 && every > 0 && number % every == 0;
}

static mosa_status after_step(mosa_trainer *t, bool last, mosa_error *err) {
    const mosa_train_config *c = t->config;
    bool epoch_end;
    double epoch = epoch_of(t, t->number, &epoch_end);
    if (t->number % c->logging_steps == 0 || last) MOSA_TRY(log_row(t, epoch, err));
    int64_t eval_steps = c->eval_steps > 0 ? c->eval_steps : c->save_steps;
    const char *when = strcmp(c->eval_strategy, "no") == 0 && c->eval_steps > 0 ? "steps" : c->eval_strategy;
    int64_t best_before = t->best_step;
    t->metric = NAN;
    if (t->options.eval_loader && (due(when, eval_steps, t->number, epoch_end) || last))
        MOSA_TRY(mosa_trainer_evaluate(t, epoch, err));
    bool wanted = strcmp(c->save_strategy, "best") == 0 || c->load_best_model_at_end;
    bool best = wanted && t->best_step != best_before;
    if (best || (last && saves(t)) || due(c->save_strategy, c->save_steps, t->number, epoch_end)) {
        uint64_t begin = mosa_clock_ns();
        MOSA_TRY(mosa_trainer_save(t, epoch, err));
        t->idle_ns += mosa_clock_ns() - begin;
    }
    return MOSA_OK;
}

// --- the run ------------------------------------------------------------------------------------------------------

static mosa_status open_outputs(mosa_trainer *t, mosa_error *err) {
    const mosa_train_config *c = t->config;
    mosa_checkpoint_saver_options saver = {.run = c->output_dir,
                                           .keep_last = c->save_total_limit,
                                           .keep_best = c->save_best_limit,
                                           .greater_is_better = c->greater_is_better};
    MOSA_TRY(mosa_run_log_open(c->output_dir, t->number > 0 ? t->number : -1, &t->log, err));
    return saves(t) ? mosa_checkpoint_saver_create(&saver, &t->saver, err) : MOSA_OK;
}

static mosa_status begin(mosa_trainer *t, mosa_error *err) {
    t->began_ns = t->window_ns = mosa_clock_ns();
    MOSA_TRY(mosa_trainer_references(t, err));
    if (t->resume) {
        MOSA_TRY(mosa_trainer_restore(t, err));
        MOSA_TRY(refresh(t, t->number - 1, err));
    }
    return open_outputs(t, err);
}

static mosa_status loop(mosa_trainer *t, bool *stopped, mosa_error *err) {
    t->began_ns = t->window_ns = mosa_clock_ns();
    while (t->number < t->cost.total_steps && !*stopped) {
        MOSA_TRY(one_step(t, err));
        bool last = t->number >= t->cost.total_steps, at_end;
        MOSA_TRY(after_step(t, last, err));
        *stopped = !last && t->options.watch.stop && t->options.watch.stop(t->options.watch.user);
        if (*stopped) MOSA_TRY(mosa_trainer_save(t, epoch_of(t, t->number, &at_end), err));
    }
    return MOSA_OK;
}

static mosa_status finish(mosa_trainer *t, bool stopped, mosa_error *err) {
    bool at_end;
    mosa_buf text = {0};
    if (t->saver) MOSA_TRY(mosa_checkpoint_saver_wait(t->saver, err));
    mosa_trainer_state_text(t, epoch_of(t, t->number, &at_end), &text);
    MOSA_AUTO_FREE char *path = mosa_path_join(t->config->output_dir, "trainer_state.json");
    mosa_status status = !path || mosa_buf_failed(&text)
                             ? mosa_fail(err, MOSA_ENOMEM, "out of memory for trainer_state.json")
                             : mosa_out_file_save(path, text.data, text.len, err);
    mosa_buf_finish(&text);
    MOSA_TRY(status);
    if (stopped || !t->config->load_best_model_at_end) return MOSA_OK;
    MOSA_TRY(mosa_trainer_restore_best(t, err));
    return mosa_step_refresh(t->step, false, 0, 0, err);
}

mosa_status mosa_trainer_run(mosa_trainer *t, mosa_train_result *result, mosa_error *err) {
    bool stopped = false, at_end;
    MOSA_TRY(begin(t, err));
    double tokens = t->tokens, flops = t->flops;
    MOSA_TRY(loop(t, &stopped, err));
    MOSA_TRY(finish(t, stopped, err));
    *result = (mosa_train_result){.first_step = t->cost.first_step,
                                  .steps = t->number,
                                  .epoch = epoch_of(t, t->number, &at_end),
                                  .stopped = stopped,
                                  .train_loss = t->all_steps > 0 ? t->all_loss / t->all_steps : NAN,
                                  .seconds = (double)(mosa_clock_ns() - t->began_ns) * 1e-9,
                                  .tokens = (int64_t)(t->tokens - tokens),
                                  .flops = t->flops - flops,
                                  .skipped = t->guard.skipped,
                                  .best_metric = t->best_metric,
                                  .best_step = t->best_step,
                                  .n_eval = t->n_last_eval};
    memcpy(result->eval, t->last_eval, sizeof result->eval);
    return MOSA_OK;
}
