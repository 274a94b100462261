// mosa eval: a task over a data file with a model in this process; the result as a table or as JSON.
#include "base/clock.h"
#include "cli/command.h"
#include "cli/local_model.h"
#include "eval/eval.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct eval_values {
    mosa_local_flags local;
    const char *task, *data, *examples, *outcomes;
    int64_t shots, limit, window, answer_tokens;
    bool json, chat;
} eval_values;

static const mosa_option options[] = {
    {.flag = "--task",
     .aliases = "--tasks",
     .type = MOSA_OPTION_STRING,
     .value = "NAME",
     .help = "loss, choice or gsm8k.",
     MOSA_OPTION_FIELD(eval_values, task)},
    {.flag = "--data",
     .type = MOSA_OPTION_STRING,
     .value = "FILE",
     .help = "What is asked: plain text for loss, JSON lines for the others.",
     MOSA_OPTION_FIELD(eval_values, data)},
    {.flag = "--shots",
     .aliases = "--num-fewshot",
     .type = MOSA_OPTION_INT,
     .fallback = "0",
     .min = 0,
     .max = 1000,
     .help = "Worked examples before each question, the first ones of --examples.",
     MOSA_OPTION_FIELD(eval_values, shots)},
    {.flag = "--examples",
     .type = MOSA_OPTION_STRING,
     .value = "FILE",
     .help = "Where worked examples come from.",
     MOSA_OPTION_FIELD(eval_values, examples)},
    {.flag = "--chat",
     .aliases = "--apply-chat-template",
     .type = MOSA_OPTION_BOOL,
     .help = "Put each question through the model's chat template.",
     MOSA_OPTION_FIELD(eval_values, chat)},
    {.flag = "--limit",
     .type = MOSA_OPTION_INT,
     .fallback = "0",
     .min = 0,
     .max = 1000000000,
     .help = "Records (windows of a text) at most; 0 takes all.",
     MOSA_OPTION_FIELD(eval_values, limit)},
    {.flag = "--window",
     .type = MOSA_OPTION_INT,
     .fallback = "0",
     .min = 0,
     .max = 16777216,
     .help = "Tokens of a text that are scored together; 0 takes the model's context, at most 2048.",
     MOSA_OPTION_FIELD(eval_values, window)},
    {.flag = "--max-tokens",
     .aliases = "-n",
     .type = MOSA_OPTION_INT,
     .fallback = "512",
     .min = 1,
     .max = 1048576,
     .help = "Longest answer.",
     MOSA_OPTION_FIELD(eval_values, answer_tokens)},
    {.flag = "--outcomes",
     .aliases = "--log-samples",
     .type = MOSA_OPTION_STRING,
     .value = "FILE",
     .help = "Write what became of every record, as JSON lines.",
     MOSA_OPTION_FIELD(eval_values, outcomes)},
    {.flag = "--json",
     .type = MOSA_OPTION_BOOL,
     .help = "Print one JSON object instead of a table.",
     MOSA_OPTION_FIELD(eval_values, json)},
    MOSA_LOCAL_ADAPTER_OPTION(eval_values),
    MOSA_LOCAL_ENGINE_OPTIONS(eval_values),
};
static const mosa_option_table table = {.options = options, .n_options = MOSA_COUNT(options)};

enum { SEQUENCES = 32, WINDOW_DEFAULT = 2048, BAR_WIDTH = 30 };

static mosa_status choose_task(const eval_values *values, const mosa_eval_task **out, mosa_error *err) {
    if (!values->task || !values->data) return mosa_fail(err, MOSA_EINVALID, "--task and --data are needed");
    *out = mosa_eval_find(values->task);
    if (*out) return MOSA_OK;
    mosa_buf names = {0};
    for (const mosa_eval_task *const *t = mosa_eval_tasks(); *t; t++) mosa_buf_printf(&names, " %s", (*t)->name);
    mosa_status status = mosa_fail(err, MOSA_EINVALID, "--task %s: known are%s", values->task, mosa_buf_str(&names));
    mosa_buf_finish(&names);
    return status;
}

static void draw(void *user, size_t done, size_t all) {
    double s = (double)(mosa_clock_ns() - *(const uint64_t *)user) * 1e-9;
    char blocks[BAR_WIDTH + 1];
    for (int i = 0; i < BAR_WIDTH; i++) blocks[i] = (size_t)i * all < done * BAR_WIDTH ? '#' : '.';
    blocks[BAR_WIDTH] = '\0';
    fprintf(stderr, "\r\033[K[%s] %zu of %zu", blocks, done, all);
    if (done) fprintf(stderr, ", %.0f s left", s / (double)done * (double)(all - done));
}

static void print_table(const mosa_eval_task *task, const mosa_engine_info *info, const mosa_eval_result *result) {
    printf("%s, %s: %s\n\n", info->name, info->quantization, task->summary);
    for (int i = 0; i < result->n_metrics; i++) {
        const mosa_eval_metric *m = &result->metrics[i];
        bool count = m->value == (double)(int64_t)m->value && m->value > 1;
        printf("  %-22s %14.*f", m->name, count ? 0 : 4, m->value);
        if (m->error > 0) printf("  +/- %.4f", m->error);
        printf("\n");
    }
    printf("  %-22s %14lld\n", "records", (long long)result->records);
}

static mosa_status print_json(const eval_values *values, const mosa_engine_info *info, const mosa_eval_result *result,
                              double seconds, mosa_error *err) {
    json_t *metrics = json_object(), *errors = json_object();
    for (int i = 0; i < result->n_metrics; i++) {
        const mosa_eval_metric *m = &result->metrics[i];
        json_object_set_new(metrics, m->name, json_real(m->value));
        if (m->error > 0) json_object_set_new(errors, m->name, json_real(m->error));
    }
    json_t *all =
        json_pack("{s:s, s:s, s:s, s:s, s:I, s:i, s:o, s:o, s:f}", "task", values->task, "model", info->name,
                  "quantization", info->quantization, "data", values->data, "records", (json_int_t)result->records,
                  "shots", (int)values->shots, "metrics", metrics, "standard_errors", errors, "seconds", seconds);
    MOSA_AUTO_FREE char *text = all ? json_dumps(all, JSON_INDENT(2)) : NULL;
    json_decref(all);
    if (!text) return mosa_fail(err, MOSA_EINVALID, "a name is not UTF-8 and cannot be printed as JSON");
    puts(text);
    return MOSA_OK;
}

static mosa_status evaluate(const eval_values *values, const mosa_eval_task *task, mosa_engine *engine,
                            mosa_error *err) {
    mosa_engine_info info;
    mosa_engine_get_info(engine, &info);
    uint64_t begin = mosa_clock_ns();
    bool terminal = isatty(STDERR_FILENO);
    int64_t longest = info.context_tokens - 1; // scoring generates one token
    int64_t window = values->window ? values->window : longest < WINDOW_DEFAULT ? longest : WINDOW_DEFAULT;
    if (window < 2 || window > longest)
        return mosa_fail(err, MOSA_EINVALID, "--window is %lld, this model takes 2 to %lld", (long long)window,
                         (long long)longest);
    mosa_eval_options eval = {.data = values->data,
                              .examples = values->examples,
                              .shots = (int)values->shots,
                              .limit = values->limit,
                              .context = window,
                              .max_tokens = values->answer_tokens,
                              .chat = values->chat,
                              .adapter = values->local.adapter ? MOSA_LOCAL_ADAPTER : NULL,
                              .outcomes = values->outcomes,
                              .progress = terminal ? draw : NULL,
                              .user = &begin};
    mosa_eval_result result = {0};
    mosa_status status = task->run(engine, &eval, &result, err);
    if (terminal) fprintf(stderr, "\r\033[K");
    if (status != MOSA_OK) return status;
    if (values->json) return print_json(values, &info, &result, (double)(mosa_clock_ns() - begin) * 1e-9, err);
    print_table(task, &info, &result);
    return MOSA_OK;
}

static mosa_status run(mosa_command_call *call, mosa_error *err) {
    const eval_values *values = call->values;
    const mosa_eval_task *task;
    mosa_engine *engine = NULL;
    MOSA_TRY(choose_task(values, &task, err));
    MOSA_TRY(mosa_local_open(call->arguments.items[0], &values->local, SEQUENCES, &engine, err));
    mosa_status status = evaluate(values, task, engine, err);
    mosa_engine_close(engine);
    return status;
}

extern const mosa_command mosa_command_eval;
const mosa_command mosa_command_eval = {
    .name = "eval",
    .group = MOSA_GROUP_TOOLS,
    .summary = "Measure how well a model does on a text or a data set",
    .usage = "MODEL --task NAME --data FILE",
    .description =
        "loss: loss, perplexity and bits per byte of a text. choice: multiple choice by log-likelihood (JSON lines "
        "with question, choices, answer). gsm8k: word problems, by the number that the answer ends with. Results are "
        "repeatable to the bit: answers are greedy, and do not depend on what else runs.\n\n"
        "  mosa eval model.gguf --task loss --data book.txt\n"
        "  mosa eval model.gguf --task gsm8k --data gsm8k_test.jsonl --examples gsm8k_train.jsonl --shots 5",
    .options = &table,
    .values_bytes = sizeof(eval_values),
    .min_arguments = 1,
    .max_arguments = 1,
    .run = run,
};
