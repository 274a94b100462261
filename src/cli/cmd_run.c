// mosa run: one prompt, one answer, in this process.
#include "cli/command.h"
#include "cli/local_model.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct run_values {
    mosa_local_flags local;
    const char *system;
    bool raw;
} run_values;

static const mosa_option options[] = {
    {.flag = "--raw",
     .type = MOSA_OPTION_BOOL,
     .help = "Continue the prompt as it is, without the chat template.",
     MOSA_OPTION_FIELD(run_values, raw)},
    {.flag = "--system",
     .type = MOSA_OPTION_STRING,
     .help = "System message before the prompt.",
     MOSA_OPTION_FIELD(run_values, system)},
    MOSA_LOCAL_SAMPLING_OPTIONS(run_values),
    MOSA_LOCAL_CONSTRAINT_OPTIONS(run_values),
    MOSA_LOCAL_ADAPTER_OPTION(run_values),
    MOSA_LOCAL_ENGINE_OPTIONS(run_values),
};
static const mosa_option_table table = {.options = options, .n_options = MOSA_COUNT(options)};

enum { STDIN_BYTES_MAX = 64 << 20 };

static mosa_status read_stdin(mosa_buf *out, mosa_error *err) {
    char chunk[65536];
    ssize_t n;
    mosa_buf_init(out, STDIN_BYTES_MAX);
    while ((n = read(STDIN_FILENO, chunk, sizeof chunk)) > 0) mosa_buf_append(out, chunk, (size_t)n);
    if (n < 0) return mosa_fail(err, MOSA_EIO, "cannot read standard input");
    if (mosa_buf_failed(out))
        return mosa_fail(err, MOSA_ELIMIT, "standard input has more than %d bytes", STDIN_BYTES_MAX);
    return MOSA_OK;
}

// The prompt as an OpenAI messages array; malloc'ed.
static char *messages_of(const run_values *values, const char *prompt) {
    json_t *messages = json_array();
    if (values->system)
        json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "system", "content", values->system));
    json_t *user = json_pack("{s:s, s:s}", "role", "user", "content", prompt);
    char *text = user && json_array_append_new(messages, user) == 0 ? json_dumps(messages, JSON_COMPACT) : NULL;
    json_decref(messages);
    return text;
}

static mosa_status answer(mosa_engine *engine, const run_values *values, const char *prompt, mosa_error *err) {
    MOSA_AUTO_FREE char *messages = values->raw ? NULL : messages_of(values, prompt);
    if (!values->raw && !messages) return mosa_fail(err, MOSA_EINVALID, "the prompt is not valid UTF-8");
    MOSA_AUTO_FREE int32_t *tokens = NULL;
    size_t n_tokens;
    MOSA_TRY(mosa_local_tokenize(engine, values->raw ? prompt : messages, !values->raw, &tokens, &n_tokens, err));
    mosa_local_answer result = {0};
    mosa_status status = mosa_local_answer_tokens(engine, &values->local, tokens, n_tokens, stdout, &result, err);
    if (status == MOSA_OK) putchar('\n');
    if (status == MOSA_OK && values->local.stats) mosa_local_print_stats(&result);
    mosa_buf_finish(&result.text);
    return status;
}

static mosa_status run(mosa_command_call *call, mosa_error *err) {
    const run_values *values = call->values;
    bool piped = call->arguments.count < 2 || strcmp(call->arguments.items[1], "-") == 0;
    if (piped && isatty(STDIN_FILENO)) {
        mosa_fail(err, MOSA_EINVALID, "no prompt given");
        return mosa_hint(err,
                         "mosa run MODEL \"prompt\", or pipe the prompt in; `mosa chat MODEL` talks back and forth");
    }
    mosa_buf input = {0};
    mosa_engine *engine = NULL;
    mosa_status status = piped ? read_stdin(&input, err) : MOSA_OK;
    if (status == MOSA_OK) status = mosa_local_open(call->arguments.items[0], &values->local, 1, &engine, err);
    if (status == MOSA_OK)
        status = answer(engine, values, piped ? mosa_buf_str(&input) : call->arguments.items[1], err);
    mosa_engine_close(engine);
    mosa_buf_finish(&input);
    return status;
}

extern const mosa_command mosa_command_run;
const mosa_command mosa_command_run = {
    .name = "run",
    .group = MOSA_GROUP_TALK,
    .summary = "Answer one prompt and exit",
    .usage = "MODEL [PROMPT]",
    .description =
        "Loads the model in this process and streams its answer. Without PROMPT (or with -) the prompt is read "
        "from standard input.\n\n"
        "  mosa run examples/mosa-tiny.gguf \"Tell me a story.\"\n"
        "  mosa run --raw --temperature 0 model.gguf \"Once upon a time\"",
    .options = &table,
    .values_bytes = sizeof(run_values),
    .min_arguments = 1,
    .max_arguments = 2,
    .run = run,
};
