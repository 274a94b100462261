// mosa tokenize: text to tokens and back, with the tokenizer of a model or of a file.
#include "cli/command.h"

#include "base/file.h"
#include "cli/model_path.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct tokenize_values {
    bool ids, count, special, add, decode;
} tokenize_values;

static const mosa_option options[] = {
    {.flag = "--ids",
     .type = MOSA_OPTION_BOOL,
     .help = "Print the ids on one line, separated by spaces.",
     MOSA_OPTION_FIELD(tokenize_values, ids)},
    {.flag = "--count",
     .type = MOSA_OPTION_BOOL,
     .help = "Print the number of tokens only.",
     MOSA_OPTION_FIELD(tokenize_values, count)},
    {.flag = "--special",
     .type = MOSA_OPTION_BOOL,
     .help = "Read spelled-out control tokens (<|im_start|>) as such; with --decode, write them.",
     MOSA_OPTION_FIELD(tokenize_values, special)},
    {.flag = "--add-special",
     .type = MOSA_OPTION_BOOL,
     .help = "Put the model's own BOS and EOS around the text.",
     MOSA_OPTION_FIELD(tokenize_values, add)},
    {.flag = "--decode",
     .type = MOSA_OPTION_BOOL,
     .help = "The input is ids; print their text.",
     MOSA_OPTION_FIELD(tokenize_values, decode)},
};
static const mosa_option_table table = {.options = options, .n_options = MOSA_COUNT(options)};

enum { INPUT_BYTES_MAX = 1 << 30 };

// --- Pieces ---------------------------------------------------------------------------------------------------------

// What is no printable text by itself (part of a character, a control byte) is shown as \xNN.
static void print_piece(mosa_slice bytes) {
    for (size_t at = 0; at < bytes.len;) {
        unsigned used;
        unsigned char byte = (unsigned char)bytes.data[at];
        bool whole = mosa_utf8_scan(bytes.data + at, bytes.len - at, &used) == MOSA_UTF8_CHAR;
        if (whole && (byte >= 0x20 || byte == '\n' || byte == '\t') && byte != 0x7F) {
            fwrite(bytes.data + at, 1, used, stdout);
            at += used;
        } else {
            printf("\\x%02X", byte);
            at++;
        }
    }
}

// A colour per token in turn, so that borders show; control tokens are inverted. Without a terminal, a bar between.
static void print_pieces(const mosa_tokenizer *tokenizer, const mosa_token_list *list, bool colour) {
    static const int backgrounds[] = {24, 58, 22, 53, 94};
    for (size_t i = 0; i < list->len; i++) {
        bool control = mosa_tokenizer_token_type(tokenizer, list->ids[i]) == MOSA_TOKEN_CONTROL;
        mosa_slice bytes = mosa_tokenizer_token_bytes(tokenizer, list->ids[i]);
        if (colour && control)
            printf("\033[7m");
        else if (colour)
            printf("\033[48;5;%dm\033[38;5;231m", backgrounds[i % MOSA_COUNT(backgrounds)]);
        else if (i > 0)
            putchar('|');
        print_piece(bytes);
        if (colour) printf("\033[0m");
    }
    printf("\n%zu tokens\n", list->len);
}

static mosa_status encode(const tokenize_values *values, const mosa_tokenizer *tokenizer, mosa_slice text,
                          mosa_error *err) {
    unsigned flags = (values->special ? MOSA_ENCODE_PARSE_SPECIAL : 0) | (values->add ? MOSA_ENCODE_ADD_SPECIAL : 0);
    mosa_token_list list;
    mosa_token_list_init(&list, 0);
    mosa_status status = mosa_tokenizer_encode(tokenizer, text, flags, &list, err);
    if (status == MOSA_OK && values->count) {
        printf("%zu\n", list.len);
    } else if (status == MOSA_OK && values->ids) {
        for (size_t i = 0; i < list.len; i++) printf("%s%d", i ? " " : "", (int)list.ids[i]);
        putchar('\n');
    } else if (status == MOSA_OK) {
        print_pieces(tokenizer, &list, isatty(STDOUT_FILENO) && !getenv("NO_COLOR"));
    }
    mosa_token_list_finish(&list);
    return status;
}

// --- Decoding -------------------------------------------------------------------------------------------------------

// Ids are numbers between anything that is no digit, so that "[1, 2]" can be pasted.
static mosa_status parse_ids(const char *text, mosa_token_list *list, mosa_error *err) {
    for (const char *at = text; *at;) {
        if (*at < '0' || *at > '9') {
            at++;
            continue;
        }
        char *end;
        errno = 0;
        long value = strtol(at, &end, 10);
        if (errno || value > INT32_MAX)
            return mosa_fail(err, MOSA_EINVALID, "%.*s is no token id", (int)(end - at), at);
        mosa_token_list_append(list, (mosa_token_id)value);
        at = end;
    }
    return list->failed ? mosa_fail(err, MOSA_ENOMEM, "out of memory for the ids") : MOSA_OK;
}

static mosa_status decode(const tokenize_values *values, const mosa_tokenizer *tokenizer, const char *text,
                          mosa_error *err) {
    mosa_token_list list;
    mosa_buf out;
    mosa_token_list_init(&list, 0);
    mosa_buf_init(&out, 0);
    mosa_status status = parse_ids(text, &list, err);
    if (status == MOSA_OK) {
        unsigned flags = values->special ? MOSA_DECODE_SPECIAL : 0;
        status = mosa_tokenizer_decode(tokenizer, list.ids, list.len, flags, &out, err);
    }
    if (status == MOSA_OK) {
        fwrite(mosa_buf_str(&out), 1, out.len, stdout);
        putchar('\n');
    }
    mosa_token_list_finish(&list);
    mosa_buf_finish(&out);
    return status;
}

// --- Command --------------------------------------------------------------------------------------------------------

static mosa_status run(mosa_command_call *call, mosa_error *err) {
    const tokenize_values *values = call->values;
    const char *given = call->arguments.count > 1 ? call->arguments.items[1] : "-";
    MOSA_AUTO_FREE char *path = NULL;
    MOSA_AUTO_FREE char *input = NULL;
    MOSA_TRY(mosa_model_path_find(call->arguments.items[0], &path, err));
    size_t len = strlen(given);
    if (strcmp(given, "-") == 0) {
        MOSA_TRY(mosa_file_read("/dev/stdin", INPUT_BYTES_MAX, &input, &len, err));
        given = input;
    }
    mosa_tokenizer *tokenizer = NULL;
    MOSA_TRY(mosa_tokenizer_load(path, &tokenizer, err));
    mosa_status status = values->decode ? decode(values, tokenizer, given, err)
                                        : encode(values, tokenizer, (mosa_slice){given, len}, err);
    mosa_tokenizer_destroy(tokenizer);
    return status;
}

extern const mosa_command mosa_command_tokenize;
const mosa_command mosa_command_tokenize = {
    .name = "tokenize",
    .group = MOSA_GROUP_TOOLS,
    .summary = "Show how text becomes tokens, or turn ids into text",
    .usage = "MODEL_OR_TOKENIZER [TEXT|-]",
    .description = "Takes the tokenizer of a model (a GGUF file, a folder, a pulled name) or a tokenizer's own file: "
                   "tokenizer.json,\n"
                   "a SentencePiece .model, or NAME.tiktoken. Reads standard input when TEXT is missing or -.\n\n"
                   "  mosa tokenize model.gguf \"Hello, world\"\n"
                   "  mosa tokenize cl100k_base.tiktoken --count < book.txt\n"
                   "  mosa tokenize model.gguf --decode \"9906 11 1917\"",
    .options = &table,
    .values_bytes = sizeof(tokenize_values),
    .min_arguments = 1,
    .max_arguments = 2,
    .run = run,
};
