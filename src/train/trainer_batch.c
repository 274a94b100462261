// One batch: forward and backward of a loss over rows, or over the answers of pairs.
//
// Pairs take two passes: a forward that gives each answer's log-probability, from which the loss and its slope follow,
// and a forward and backward with the slopes as weights.
#include "train/trainer_internal.h"

#include <math.h>

void mosa_train_sums_add(mosa_train_sums *to, const mosa_train_sums *from) {
    double *a = (double *)to;
    const double *b = (const double *)from;
    for (size_t i = 0; i < MOSA_TRAIN_SUMS; i++) a[i] += b[i];
}

static mosa_step_batch step_batch(mosa_trainer *t, const mosa_data_batch *batch) {
    for (int32_t i = 0; i < batch->n_segments; i++)
        t->segments[i] = (mosa_step_segment){batch->segments[i].row_begin, batch->segments[i].row_count};
    return (mosa_step_batch){.rows = batch->rows,
                             .tokens = batch->tokens,
                             .labels = batch->labels,
                             .n_segments = batch->n_segments,
                             .segments = t->segments};
}

static void count_rows(const mosa_step_batch *batch, const mosa_step_stats *stats, mosa_train_sums *sums) {
    sums->rows += batch->rows;
    for (int32_t row = 0; row < batch->rows; row++) {
        if (batch->labels[row] < 0) continue;
        sums->labels++;
        sums->nll -= stats[row].logp;
        sums->correct += stats[row].correct;
        sums->entropy += stats[row].entropy;
    }
}

static double count_flops(const mosa_trainer *t, const mosa_step_batch *batch) {
    double flops = 0;
    for (int32_t i = 0; i < batch->n_segments; i++) flops += mosa_step_flops(t->step, batch->segments[i].row_count);
    return flops;
}

// --- rows ---------------------------------------------------------------------------------------------------------

static mosa_status run_rows(mosa_trainer *t, const mosa_data_batch *data, bool evaluate, mosa_train_sums *sums,
                            mosa_error *err) {
    const mosa_step_stats *stats;
    mosa_step_batch batch = step_batch(t, data);
    batch.coef = evaluate ? NULL : data->coef;
    MOSA_TRY(evaluate ? mosa_step_forward(t->step, &batch, &stats, err) : mosa_step_run(t->step, &batch, &stats, err));
    for (int32_t row = 0; row < data->rows; row++)
        if (data->labels[row] >= 0) sums->loss -= (double)data->coef[row] * stats[row].logp;
    sums->weight += data->coef_sum;
    count_rows(&batch, stats, sums);
    return MOSA_OK;
}

// --- answers ------------------------------------------------------------------------------------------------------

static mosa_answer_logp sum_segment(const mosa_step_batch *batch, const mosa_step_stats *stats, int32_t segment) {
    mosa_answer_logp answer = {0};
    int32_t begin = batch->segments[segment].row_begin, end = begin + batch->segments[segment].row_count;
    for (int32_t row = begin; row < end; row++) {
        if (batch->labels[row] < 0) continue;
        answer.sum += stats[row].logp;
        answer.tokens++;
    }
    if (answer.tokens < 1) answer.tokens = 1;
    return answer;
}

static void read_answers(mosa_trainer *t, const mosa_data_batch *data, const mosa_step_batch *batch,
                         const mosa_step_stats *stats, float *const *reference) {
    for (int32_t i = 0; i < batch->n_segments; i++) {
        t->answers[i] = sum_segment(batch, stats, i);
        if (reference) t->answers[i].reference = reference[data->origins[i].set][data->origins[i].example];
    }
}

static void judge_pairs(mosa_trainer *t, const mosa_data_batch *data, mosa_train_sums *sums) {
    for (int32_t i = 0; i + 1 < data->n_segments; i += 2) {
        mosa_preference_loss loss = mosa_preference_pair(&t->preference, t->answers[i], t->answers[i + 1]);
        t->slopes[i] = (float)loss.d_chosen;
        t->slopes[i + 1] = (float)loss.d_rejected;
        sums->loss += loss.loss;
        sums->weight++;
        sums->reward_chosen += loss.reward_chosen;
        sums->reward_rejected += loss.reward_rejected;
        sums->chosen_won += loss.reward_chosen > loss.reward_rejected;
    }
}

static void judge_singles(mosa_trainer *t, const mosa_data_batch *data, double divergence, mosa_train_sums *sums) {
    for (int32_t i = 0; i < data->n_segments; i++) {
        bool good = data->origins[i].role == MOSA_EXAMPLE_GOOD;
        mosa_preference_loss loss = mosa_preference_single(&t->preference, t->answers[i], good, divergence);
        t->slopes[i] = (float)loss.d_chosen;
        sums->loss += loss.loss;
        sums->weight++;
        *(good ? &sums->reward_chosen : &sums->reward_rejected) += loss.reward_chosen;
        *(good ? &sums->n_good : &sums->n_bad) += 1;
    }
}

// --- KTO's divergence ---------------------------------------------------------------------------------------------

static int32_t first_label(const mosa_data_batch *data, int32_t segment) {
    int32_t row = data->segments[segment].row_begin, end = row + data->segments[segment].row_count;
    while (row < end && data->labels[row] < 0) row++;
    return row;
}

// Each prompt with the answer of the next example: the same number of rows in all.
static void mix_answers(mosa_trainer *t, const mosa_data_batch *data) {
    int32_t at = 0;
    for (int32_t i = 0; i < data->n_segments; i++) {
        int32_t next = (i + 1) % data->n_segments, begin = at;
        int32_t from = first_label(data, next), end = data->segments[next].row_begin + data->segments[next].row_count;
        for (int32_t row = data->segments[i].row_begin; row <= first_label(data, i); row++) {
            t->kl_labels[at] = -1;
            t->kl_tokens[at++] = data->tokens[row];
        }
        for (int32_t row = from; row < end && data->labels[row] >= 0; row++) {
            t->kl_labels[at - 1] = data->labels[row];
            t->kl_tokens[at++] = data->labels[row];
        }
        t->segments[i] = (mosa_step_segment){begin, --at - begin}; // the last token is only a label
    }
}

// max(0, mean of policy - base) over prompts with answers that are not theirs, as TRL estimates it.
static mosa_status measure_divergence(mosa_trainer *t, const mosa_data_batch *data, double *out, mosa_error *err) {
    const mosa_step_stats *stats;
    *out = 0;
    if (data->n_segments < 2 || !t->plan->lora) return MOSA_OK;
    mix_answers(t, data);
    const mosa_step_segment *last = &t->segments[data->n_segments - 1];
    mosa_step_batch batch = {.rows = last->row_begin + last->row_count,
                             .tokens = t->kl_tokens,
                             .labels = t->kl_labels,
                             .n_segments = data->n_segments,
                             .segments = t->segments};
    double sum = 0;
    MOSA_TRY(mosa_step_forward(t->step, &batch, &stats, err));
    for (int32_t i = 0; i < batch.n_segments; i++) sum += sum_segment(&batch, stats, i).sum;
    MOSA_TRY(mosa_step_reference(t->step, &batch, &stats, err));
    for (int32_t i = 0; i < batch.n_segments; i++) sum -= sum_segment(&batch, stats, i).sum;
    *out = sum > 0 ? sum / data->n_segments : 0;
    return MOSA_OK;
}

static mosa_status run_answers(mosa_trainer *t, const mosa_data_batch *data, float *const *reference, bool evaluate,
                               mosa_train_sums *sums, mosa_error *err) {
    const mosa_step_stats *stats;
    double divergence = 0;
    if (t->labelled) MOSA_TRY(measure_divergence(t, data, &divergence, err));
    mosa_step_batch batch = step_batch(t, data);
    MOSA_TRY(mosa_step_forward(t->step, &batch, &stats, err));
    read_answers(t, data, &batch, stats, reference);
    count_rows(&batch, stats, sums);
    if (t->labelled)
        judge_singles(t, data, divergence, sums);
    else
        judge_pairs(t, data, sums);
    if (evaluate) return MOSA_OK;
    for (int32_t i = 0; i < batch.n_segments; i++)
        for (int32_t row = batch.segments[i].row_begin, end = row + batch.segments[i].row_count; row < end; row++)
            t->coef[row] = data->labels[row] >= 0 ? -t->slopes[i] : 0;
    batch.coef = t->coef;
    return mosa_step_run(t->step, &batch, &stats, err);
}

mosa_status mosa_trainer_batch(mosa_trainer *t, const mosa_data_batch *batch, float *const *reference, bool evaluate,
                               mosa_train_sums *sums, mosa_error *err) {
    MOSA_TRY(t->pairs || t->labelled ? run_answers(t, batch, reference, evaluate, sums, err)
                                     : run_rows(t, batch, evaluate, sums, err));
    mosa_step_batch rows = step_batch(t, batch);
    sums->flops += count_flops(t, &rows);
    return MOSA_OK;
}
