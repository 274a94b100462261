// mosa chat: a conversation in the terminal, in this process.
#include "cli/command.h"
#include "cli/local_model.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct chat_values {
    mosa_local_flags local;
    const char *system;
} chat_values;

static const mosa_option options[] = {
    {.flag = "--system",
     .type = MOSA_OPTION_STRING,
     .help = "System message at the start of the conversation.",
     MOSA_OPTION_FIELD(chat_values, system)},
    MOSA_LOCAL_SAMPLING_OPTIONS(chat_values),
    MOSA_LOCAL_CONSTRAINT_OPTIONS(chat_values),
    MOSA_LOCAL_ADAPTER_OPTION(chat_values),
    MOSA_LOCAL_ENGINE_OPTIONS(chat_values),
};
static const mosa_option_table table = {.options = options, .n_options = MOSA_COUNT(options)};

typedef struct conversation {
    mosa_engine *engine;
    const chat_values *values;
    json_t *messages;
    bool colour;
} conversation;

static const char help_text[] = "/reset   forget the conversation\n"
                                "/system TEXT   start over with this system message\n"
                                "/undo    take the last question and answer back\n"
                                "/help    this\n"
                                "/exit    leave (also Ctrl-D); Ctrl-C stops an answer\n";

static bool add_message(json_t *messages, const char *role, const char *content) {
    json_t *message = json_pack("{s:s, s:s}", "role", role, "content", content);
    return message && json_array_append_new(messages, message) == 0;
}

static void reset(conversation *c, const char *system) {
    json_array_clear(c->messages);
    if (system && *system) add_message(c->messages, "system", system);
}

static void undo(conversation *c) {
    size_t n = json_array_size(c->messages);
    if (n >= 2 &&
        strcmp(json_string_value(json_object_get(json_array_get(c->messages, n - 1), "role")), "assistant") == 0) {
        json_array_remove(c->messages, n - 1);
        json_array_remove(c->messages, n - 2);
    }
}

static mosa_status reply(conversation *c, mosa_error *err) {
    MOSA_AUTO_FREE char *text = json_dumps(c->messages, JSON_COMPACT);
    MOSA_AUTO_FREE int32_t *tokens = NULL;
    size_t n_tokens;
    if (!text) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the conversation");
    MOSA_TRY(mosa_local_tokenize(c->engine, text, true, &tokens, &n_tokens, err));
    mosa_local_answer answer = {0};
    mosa_status status = mosa_local_answer_tokens(c->engine, &c->values->local, tokens, n_tokens, stdout, &answer, err);
    printf("\n\n");
    if (status == MOSA_OK && !add_message(c->messages, "assistant", mosa_buf_str(&answer.text)))
        status = mosa_fail(err, MOSA_ENOMEM, "out of memory for the conversation");
    if (status == MOSA_OK && c->values->local.stats) mosa_local_print_stats(&answer);
    mosa_buf_finish(&answer.text);
    return status;
}

// Handles a line that begins with a slash; false = leave.
static bool command(conversation *c, const char *line) {
    if (strcmp(line, "/exit") == 0 || strcmp(line, "/quit") == 0 || strcmp(line, "/bye") == 0) return false;
    if (strcmp(line, "/reset") == 0 || strcmp(line, "/clear") == 0)
        reset(c, c->values->system);
    else if (strncmp(line, "/system ", 8) == 0)
        reset(c, line + 8);
    else if (strcmp(line, "/undo") == 0)
        undo(c);
    else
        printf("%s", help_text);
    return true;
}

// A question that the model refuses (too long, a template that objects) is taken back; the conversation goes on.
static void ask(conversation *c, const char *line) {
    mosa_error err = {0};
    if (!add_message(c->messages, "user", line)) {
        fprintf(stderr, "that line is not valid UTF-8\n");
        return;
    }
    if (reply(c, &err) == MOSA_OK) return;
    fprintf(stderr, "mosa: %s\n", err.message);
    if (err.hint[0]) fprintf(stderr, "%s\n", err.hint);
    json_array_remove(c->messages, json_array_size(c->messages) - 1);
}

static void converse(conversation *c) {
    MOSA_AUTO_FREE char *line = NULL;
    size_t capacity = 0;
    bool prompt = isatty(STDIN_FILENO);
    for (;;) {
        if (prompt) printf(c->colour ? "\033[1;36m>>>\033[0m " : ">>> ");
        fflush(stdout);
        ssize_t len = getline(&line, &capacity, stdin);
        if (len < 0) break;
        while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r')) line[--len] = '\0';
        if (len == 0) continue;
        if (line[0] != '/')
            ask(c, line);
        else if (!command(c, line))
            break;
    }
    if (prompt) putchar('\n');
}

static mosa_status run(mosa_command_call *call, mosa_error *err) {
    conversation c = {.values = call->values, .messages = json_array(), .colour = isatty(STDOUT_FILENO)};
    if (!c.messages) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a conversation");
    mosa_status status = mosa_local_open(call->arguments.items[0], &c.values->local, 1, &c.engine, err);
    if (status == MOSA_OK) {
        mosa_engine_info info;
        mosa_engine_get_info(c.engine, &info);
        if (isatty(STDIN_FILENO))
            printf("%s (%s, %s), context %lld tokens. /help for commands.\n\n", info.name, info.architecture,
                   info.quantization, (long long)info.context_tokens);
        reset(&c, c.values->system);
        converse(&c);
    }
    mosa_engine_close(c.engine);
    json_decref(c.messages);
    return status;
}

extern const mosa_command mosa_command_chat;
const mosa_command mosa_command_chat = {
    .name = "chat",
    .group = MOSA_GROUP_TALK,
    .summary = "Talk to a model in the terminal",
    .usage = "MODEL",
    .description =
        "Loads the model in this process. Earlier turns stay in its cache, so each question only costs its own "
        "tokens.\n\n  mosa chat examples/mosa-tiny.gguf",
    .options = &table,
    .values_bytes = sizeof(chat_values),
    .min_arguments = 1,
    .max_arguments = 1,
    .run = run,
};
