// gsm8k: word problems whose answer is a number, generated step by step and compared.
//
// As in lm-evaluation-harness: `exact_match` wants the number behind "####", `exact_match_flexible` takes the last
// number of the answer. Commas, a dollar sign and a final dot do not count. Worked examples (--shots) come before each
// question in the same form; an answer ends where it begins a new question.
#include "eval/eval_batch.h"
#include "eval/eval_records.h"

#include "eval/eval_number.h"

#include <stdlib.h>
#include <string.h>

static const char *const question_names[] = {"question", "prompt", NULL};
static const char *const answer_names[] = {"answer", NULL};
static const char stop[] = "\nQuestion:";

static mosa_status check_record(const char *path, const json_t *record, size_t index, mosa_error *err) {
    char number[MOSA_EVAL_NUMBER_MAX];
    const char *answer = mosa_eval_record_text(record, answer_names);
    if (!mosa_eval_record_text(record, question_names))
        return mosa_eval_record_fail(path, index, "there is no question", err);
    if (!answer || (!mosa_eval_marked_number(answer, number) && !mosa_eval_last_number(answer, number)))
        return mosa_eval_record_fail(path, index, "there is no answer with a number", err);
    return MOSA_OK;
}

static mosa_status read_examples(const mosa_eval_options *o, mosa_buf *out, mosa_error *err) {
    if (!o->shots) return MOSA_OK;
    if (!o->examples) return mosa_fail(err, MOSA_EINVALID, "--shots needs --examples FILE");
    json_t *records = NULL, *record;
    size_t i;
    MOSA_TRY(mosa_eval_records_load(o->examples, o->shots, &records, err));
    mosa_status status = MOSA_OK;
    json_array_foreach(records, i, record) {
        status = check_record(o->examples, record, i, err);
        if (status != MOSA_OK) break;
        mosa_buf_printf(out, "Question: %s\nAnswer: %s\n\n", mosa_eval_record_text(record, question_names),
                        mosa_eval_record_text(record, answer_names));
    }
    json_decref(records);
    return status;
}

static mosa_status add_question(mosa_eval_batch *batch, const mosa_engine *engine, const mosa_eval_options *o,
                                const mosa_buf *examples, const char *question, mosa_error *err) {
    mosa_buf text = {0};
    mosa_eval_job *job = mosa_eval_batch_add(batch);
    // A model that talks is told the form that is looked for; one that continues has seen it in the examples.
    if (o->chat && !o->shots)
        mosa_buf_printf(&text, "%s\n\nThink step by step, then end with a line \"#### \" and the number.", question);
    else
        mosa_buf_printf(&text, "%sQuestion: %s\nAnswer:", mosa_buf_str(examples), question);
    mosa_status status = MOSA_OK;
    if (!job || mosa_buf_failed(&text))
        status = mosa_fail(err, MOSA_ENOMEM, "out of memory for the questions");
    else if (o->chat)
        status = mosa_eval_tokenize_user(engine, mosa_buf_str(&text), &job->tokens, &job->n_tokens, err);
    else
        status =
            mosa_eval_tokenize(engine, mosa_buf_slice(&text), MOSA_TOKENIZE_SPECIAL, &job->tokens, &job->n_tokens, err);
    mosa_buf_finish(&text);
    if (status != MOSA_OK) return status;
    job->score_from = job->n_tokens;
    job->max_tokens = o->max_tokens;
    job->stop = stop;
    return MOSA_OK;
}

static mosa_status add_questions(mosa_eval_batch *batch, const mosa_engine *engine, const mosa_eval_options *o,
                                 const json_t *records, mosa_error *err) {
    mosa_buf examples = {0};
    mosa_status status = read_examples(o, &examples, err);
    size_t n = json_array_size(records);
    for (size_t i = 0; status == MOSA_OK && i < n; i++)
        status = check_record(o->data, json_array_get(records, i), i, err);
    for (size_t i = 0; status == MOSA_OK && i < n; i++)
        status = add_question(batch, engine, o, &examples,
                              mosa_eval_record_text(json_array_get(records, i), question_names), err);
    mosa_buf_finish(&examples);
    return status;
}

static mosa_status judge(const mosa_eval_batch *batch, const mosa_eval_options *o, const json_t *records,
                         mosa_eval_result *result, mosa_error *err) {
    FILE *file = NULL;
    MOSA_TRY(mosa_eval_outcomes_open(o->outcomes, &file, err));
    int64_t strict = 0, flexible = 0, skipped = 0;
    for (size_t i = 0; i < batch->n_jobs; i++) {
        const mosa_eval_job *job = &batch->jobs[i];
        const char *answer = mosa_eval_record_text(json_array_get(records, i), answer_names);
        char right[MOSA_EVAL_NUMBER_MAX], said[MOSA_EVAL_NUMBER_MAX];
        if (!mosa_eval_marked_number(answer, right)) mosa_eval_last_number(answer, right);
        const char *text = mosa_buf_str(&job->text);
        bool is_strict = mosa_eval_marked_number(text, said) && strcmp(said, right) == 0;
        bool is_flexible = mosa_eval_last_number(text, said) && strcmp(said, right) == 0;
        skipped += job->refused;
        strict += is_strict;
        flexible += is_flexible;
        mosa_eval_outcomes_add(file, json_pack("{s:I, s:s, s:s, s:b, s:b, s:b}", "record", (json_int_t)i + 1, "right",
                                               right, "answer", text, "exact", is_strict, "flexible", is_flexible,
                                               "refused", job->refused));
    }
    result->records = (int64_t)batch->n_jobs - skipped;
    mosa_eval_add_share(result, "exact_match", strict, result->records);
    mosa_eval_add_share(result, "exact_match_flexible", flexible, result->records);
    if (skipped) mosa_eval_add(result, "skipped", (double)skipped);
    return mosa_eval_outcomes_close(o->outcomes, file, err);
}

static mosa_status run(mosa_engine *engine, const mosa_eval_options *o, mosa_eval_result *result, mosa_error *err) {
    json_t *records = NULL;
    mosa_eval_batch batch = {0};
    MOSA_TRY(mosa_eval_records_load(o->data, o->limit, &records, err));
    mosa_status status = add_questions(&batch, engine, o, records, err);
    if (status == MOSA_OK) status = mosa_eval_batch_run(&batch, engine, o, err);
    if (status == MOSA_OK) status = judge(&batch, o, records, result, err);
    mosa_eval_batch_finish(&batch);
    json_decref(records);
    return status;
}

const mosa_eval_task mosa_eval_gsm8k = {
    .name = "gsm8k",
    .summary = "word problems, by the number that the answer ends with",
    .format = "JSON lines with question and answer (its number behind \"####\")",
    .run = run,
};
