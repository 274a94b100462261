// Evaluations, and the names that metrics go by.
#include "train/trainer_internal.h"

#include "base/clock.h"

#include <math.h>

static void put(mosa_scalar *out, size_t *n, bool evaluate, const char *plain, const char *eval, double value) {
    out[(*n)++] = (mosa_scalar){evaluate ? eval : plain, value};
}

size_t mosa_trainer_scalars(const mosa_trainer *t, const mosa_train_sums *s, bool evaluate, mosa_scalar *out) {
    size_t n = 0;
    if (evaluate) put(out, &n, true, "", "eval_loss", s->loss / s->weight);
    if (t->pairs) {
        double c = s->reward_chosen / s->weight, r = s->reward_rejected / s->weight;
        put(out, &n, evaluate, "rewards/chosen", "eval_rewards/chosen", c);
        put(out, &n, evaluate, "rewards/rejected", "eval_rewards/rejected", r);
        put(out, &n, evaluate, "rewards/margins", "eval_rewards/margins", c - r);
        put(out, &n, evaluate, "rewards/accuracies", "eval_rewards/accuracies", s->chosen_won / s->weight);
    } else if (t->labelled) {
        if (s->n_good) put(out, &n, evaluate, "rewards/chosen", "eval_rewards/chosen", s->reward_chosen / s->n_good);
        if (s->n_bad)
            put(out, &n, evaluate, "rewards/rejected", "eval_rewards/rejected", s->reward_rejected / s->n_bad);
    } else if (evaluate) {
        put(out, &n, true, "", "eval_perplexity", exp(s->nll / s->labels));
    }
    put(out, &n, evaluate, "mean_token_accuracy", "eval_mean_token_accuracy", s->correct / s->labels);
    put(out, &n, evaluate, "entropy", "eval_entropy", s->entropy / s->labels);
    return n;
}

static double find(const mosa_scalar *scalars, size_t n, const char *name) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(scalars[i].tag, name) == 0 ||
            (strncmp(scalars[i].tag, "eval_", 5) == 0 && strcmp(scalars[i].tag + 5, name) == 0))
            return scalars[i].value;
    return NAN;
}

static void judge(mosa_trainer *t) {
    t->metric = find(t->last_eval, t->n_last_eval, t->config->metric_for_best_model);
    bool better = t->config->greater_is_better ? t->metric > t->best_metric : t->metric < t->best_metric;
    if (isnan(t->metric) || !(better || isnan(t->best_metric))) return;
    t->best_metric = t->metric;
    t->best_step = t->number;
}

mosa_status mosa_trainer_evaluate(mosa_trainer *t, double epoch, mosa_error *err) {
    mosa_train_sums sums = {0};
    uint64_t batches, begin = mosa_clock_ns();
    mosa_data_batch batch;
    MOSA_TRY(mosa_loader_set_position(t->options.eval_loader, (mosa_loader_position){0}, err));
    MOSA_TRY(mosa_loader_epoch_batches(t->options.eval_loader, 0, &batches, err));
    for (uint64_t i = 0; i < batches; i++) {
        MOSA_TRY(mosa_loader_next(t->options.eval_loader, &batch, err));
        MOSA_TRY(mosa_trainer_batch(t, &batch, t->eval_reference, true, &sums, err));
        t->progress.doing = "evaluate";
        t->progress.part = (int64_t)i + 1;
        t->progress.n_parts = (int64_t)batches;
        if (t->options.watch.progress) t->options.watch.progress(t->options.watch.user, &t->progress);
    }
    uint64_t took = mosa_clock_ns() - begin;
    t->idle_ns += took;
    t->n_last_eval = mosa_trainer_scalars(t, &sums, true, t->last_eval);
    t->last_eval[t->n_last_eval++] = (mosa_scalar){"eval_runtime", (double)took * 1e-9};
    judge(t);
    MOSA_TRY(mosa_run_log_add(t->log, t->number, epoch, t->last_eval, t->n_last_eval, err));
    if (t->options.watch.logged)
        t->options.watch.logged(t->options.watch.user, t->number, epoch, t->last_eval, t->n_last_eval);
    return MOSA_OK;
}
