// choice: multiple choice by log-likelihood.
//
// Each choice is scored as the continuation of the question, after a space. `accuracy` takes the likeliest choice,
// `accuracy_norm` the likeliest per byte, as lm-evaluation-harness does with acc and acc_norm. The tokens of a choice
// are those of the whole text beyond the question's own, so that a token across the border counts for the choice.
#include "eval/eval_batch.h"
#include "eval/eval_records.h"

#include <stdlib.h>
#include <string.h>

static const char *const question_names[] = {"question", "query", "prompt", "ctx", NULL};

enum { CHOICES_MAX = 64 };

// Which choice is right: an index, a letter, a number as text, or the choice's own text; -1 when none of these.
static int right_choice(const json_t *record, const json_t *choices) {
    const json_t *answer = json_object_get(record, "answer");
    if (!answer) answer = json_object_get(record, "label");
    int n = (int)json_array_size(choices), index = -1;
    if (json_is_integer(answer)) index = (int)json_integer_value(answer);
    const char *text = json_string_value(answer);
    for (int i = 0; text && i < n; i++)
        if (strcmp(text, json_string_value(json_array_get(choices, (size_t)i))) == 0) return i;
    if (text && strlen(text) == 1 && text[0] >= 'A' && text[0] <= 'Z') index = text[0] - 'A';
    int64_t number;
    if (text && mosa_parse_i64(text, &number) && number < n) index = (int)number;
    return index >= 0 && index < n ? index : -1;
}

static mosa_status check_record(const mosa_eval_options *o, const json_t *record, size_t index, mosa_error *err) {
    const json_t *choices = json_object_get(record, "choices"), *choice;
    size_t i;
    if (!mosa_eval_record_text(record, question_names))
        return mosa_eval_record_fail(o->data, index, "there is no question (or query, prompt, ctx)", err);
    if (json_array_size(choices) < 2 || json_array_size(choices) > CHOICES_MAX)
        return mosa_eval_record_fail(o->data, index, "choices must be a list of 2 to 64 texts", err);
    json_array_foreach(choices, i, choice) if (!json_is_string(choice)) return mosa_eval_record_fail(
        o->data, index, "a choice is no text", err);
    if (right_choice(record, choices) < 0)
        return mosa_eval_record_fail(o->data, index, "answer (or label) must be a choice's index, letter or text", err);
    return MOSA_OK;
}

static mosa_status add_choice(mosa_eval_batch *batch, const mosa_engine *engine, const char *question,
                              const char *choice, mosa_error *err) {
    mosa_buf text = {0};
    MOSA_AUTO_FREE int32_t *alone = NULL;
    size_t n_alone = 0;
    mosa_eval_job *job = mosa_eval_batch_add(batch);
    mosa_buf_printf(&text, "%s %s", question, choice);
    if (!job || mosa_buf_failed(&text)) {
        mosa_buf_finish(&text);
        return mosa_fail(err, MOSA_ENOMEM, "out of memory for the choices");
    }
    mosa_status status =
        mosa_eval_tokenize(engine, mosa_slice_of(question), MOSA_TOKENIZE_SPECIAL, &alone, &n_alone, err);
    if (status == MOSA_OK)
        status =
            mosa_eval_tokenize(engine, mosa_buf_slice(&text), MOSA_TOKENIZE_SPECIAL, &job->tokens, &job->n_tokens, err);
    mosa_buf_finish(&text);
    if (status != MOSA_OK) return status;
    size_t same = 0;
    while (same < n_alone && same < job->n_tokens && alone[same] == job->tokens[same]) same++;
    job->score_from = same > 0 ? same : 1;
    return MOSA_OK;
}

static mosa_status add_records(mosa_eval_batch *batch, const mosa_engine *engine, const mosa_eval_options *o,
                               const json_t *records, mosa_error *err) {
    size_t i, c;
    json_t *record, *choice;
    json_array_foreach(records, i, record) MOSA_TRY(check_record(o, record, i, err));
    json_array_foreach(records, i, record) {
        const char *question = mosa_eval_record_text(record, question_names);
        json_array_foreach(json_object_get(record, "choices"), c, choice)
            MOSA_TRY(add_choice(batch, engine, question, json_string_value(choice), err));
    }
    return MOSA_OK;
}

static mosa_status judge(const mosa_eval_batch *batch, const mosa_eval_options *o, const json_t *records,
                         mosa_eval_result *result, mosa_error *err) {
    FILE *file = NULL;
    MOSA_TRY(mosa_eval_outcomes_open(o->outcomes, &file, err));
    int64_t hits = 0, hits_norm = 0, skipped = 0;
    size_t i, at = 0;
    json_t *record;
    json_array_foreach(records, i, record) {
        const json_t *choices = json_object_get(record, "choices");
        int n = (int)json_array_size(choices), best = 0, best_norm = 0, right = right_choice(record, choices);
        bool refused = false;
        double scores[CHOICES_MAX], norms[CHOICES_MAX];
        for (int c = 0; c < n; c++) {
            const mosa_eval_job *job = &batch->jobs[at + (size_t)c];
            size_t bytes = json_string_length(json_array_get(choices, (size_t)c));
            refused |= job->refused;
            scores[c] = job->logprob;
            norms[c] = job->logprob / (double)(bytes ? bytes : 1);
            if (scores[c] > scores[best]) best = c;
            if (norms[c] > norms[best_norm]) best_norm = c;
        }
        at += (size_t)n;
        skipped += refused;
        hits += !refused && best == right;
        hits_norm += !refused && best_norm == right;
        mosa_eval_outcomes_add(file, json_pack("{s:I, s:i, s:i, s:i, s:b}", "record", (json_int_t)i + 1, "right", right,
                                               "chosen", best, "chosen_norm", best_norm, "refused", refused));
    }
    result->records = (int64_t)json_array_size(records) - skipped;
    mosa_eval_add_share(result, "accuracy", hits, result->records);
    mosa_eval_add_share(result, "accuracy_norm", hits_norm, result->records);
    if (skipped) mosa_eval_add(result, "skipped", (double)skipped);
    return mosa_eval_outcomes_close(o->outcomes, file, err);
}

static mosa_status run(mosa_engine *engine, const mosa_eval_options *o, mosa_eval_result *result, mosa_error *err) {
    json_t *records = NULL;
    mosa_eval_batch batch = {0};
    MOSA_TRY(mosa_eval_records_load(o->data, o->limit, &records, err));
    mosa_status status = add_records(&batch, engine, o, records, err);
    if (status == MOSA_OK) status = mosa_eval_batch_run(&batch, engine, o, err);
    if (status == MOSA_OK) status = judge(&batch, o, records, result, err);
    mosa_eval_batch_finish(&batch);
    json_decref(records);
    return status;
}

const mosa_eval_task mosa_eval_choice = {
    .name = "choice",
    .summary = "multiple choice by log-likelihood, raw and per byte",
    .format = "JSON lines with question, choices and answer (index, letter or text)",
    .run = run,
};
