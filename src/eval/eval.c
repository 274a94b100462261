// The table of tasks.
#include "eval/eval.h"

#include <assert.h>
#include <math.h>
#include <string.h>

extern const mosa_eval_task mosa_eval_choice, mosa_eval_gsm8k, mosa_eval_loss;

static const mosa_eval_task *const table[] = {
    &mosa_eval_loss,
    &mosa_eval_choice,
    &mosa_eval_gsm8k,
    NULL,
};

const mosa_eval_task *const *mosa_eval_tasks(void) {
    return table;
}

const mosa_eval_task *mosa_eval_find(const char *name) {
    for (const mosa_eval_task *const *t = table; *t; t++)
        if (strcmp((*t)->name, name) == 0) return *t;
    return NULL;
}

void mosa_eval_add(mosa_eval_result *result, const char *name, double value) {
    assert(result->n_metrics < MOSA_EVAL_METRICS_MAX);
    result->metrics[result->n_metrics++] = (mosa_eval_metric){.name = name, .value = value};
}

void mosa_eval_add_share(mosa_eval_result *result, const char *name, int64_t hits, int64_t n) {
    double share = n ? (double)hits / (double)n : 0;
    mosa_eval_add(result, name, share);
    if (n > 1) result->metrics[result->n_metrics - 1].error = sqrt(share * (1 - share) / (double)(n - 1));
}
