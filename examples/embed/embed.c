// Embeds Mosa's engine in a program: load a model, ask one question, print the answer as it comes.
//
//   embed MODEL.gguf "What is the moon?"
//
// Only <mosa/mosa.h> is used, and everything that fails says why.
#include <mosa/mosa.h>

#include <stdio.h>
#include <stdlib.h>

enum { PROMPT_TOKENS_MAX = 4096, MESSAGE_BYTES_MAX = 8192 };

static bool print_text(void *user, const mosa_event *event) {
    (void)user;
    fwrite(event->text, 1, event->text_len, stdout);
    fflush(stdout);
    return true; // false would cancel
}

// Escapes what JSON demands; the question becomes the one message of a conversation.
static int write_messages(char *out, size_t size, const char *question) {
    size_t n = (size_t)snprintf(out, size, "[{\"role\":\"user\",\"content\":\"");
    for (const char *c = question; *c && n + 8 < size; c++) {
        if (*c == '"' || *c == '\\')
            n += (size_t)snprintf(out + n, size - n, "\\%c", *c);
        else if ((unsigned char)*c < 0x20)
            n += (size_t)snprintf(out + n, size - n, "\\u%04x", *c);
        else
            out[n++] = *c;
    }
    return snprintf(out + n, size - n, "\"}]") < (int)(size - n);
}

static mosa_status answer(mosa_engine *engine, const char *question, mosa_error *err) {
    char messages[MESSAGE_BYTES_MAX];
    int32_t tokens[PROMPT_TOKENS_MAX];
    size_t n;
    if (!write_messages(messages, sizeof messages, question)) {
        fprintf(stderr, "the question is too long\n");
        return MOSA_ELIMIT;
    }
    mosa_status status = mosa_tokenize_chat(engine, messages, tokens, PROMPT_TOKENS_MAX, &n, err);
    if (status != MOSA_OK) return status;
    mosa_request request = mosa_request_default();
    request.tokens = tokens;
    request.n_tokens = n < PROMPT_TOKENS_MAX ? n : PROMPT_TOKENS_MAX;
    request.sampling.temperature = 0.7f;
    request.sampling.seed = 1;
    request.max_tokens = 200;
    return mosa_engine_generate(engine, &request, print_text, NULL, err);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s MODEL \"question\"\n", argv[0]);
        return 2;
    }
    mosa_error err = {0};
    mosa_engine *engine = NULL;
    mosa_engine_options options = {.model = argv[1], .max_sequences = 1};
    mosa_status status = mosa_engine_open(&options, &engine, &err);
    if (status == MOSA_OK) status = answer(engine, argv[2], &err);
    if (status == MOSA_OK)
        putchar('\n');
    else if (err.message[0])
        fprintf(stderr, "%s\n%s\n", err.message, err.hint);
    mosa_engine_close(engine);
    return status == MOSA_OK ? 0 : 1;
}
