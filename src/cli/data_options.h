// What the `mosa data` commands share: flags that say how data is read, the set-up made of them, a progress bar.
#ifndef MOSA_CLI_DATA_OPTIONS_H
#define MOSA_CLI_DATA_OPTIONS_H

#include "cli/command.h"
#include "train/data/prepare.h"

typedef struct data_values {
    const char *model, *chat_template, *format, *dataset_info, *text_unit, *train_on, *overlong, *eos, *out, *kwargs;
    mosa_string_list columns;
    int64_t seq_len, threads, count, line, seed, rows, permutations, shingle, memory, parts;
    double threshold, test_share;
    bool ignore_unknown, duplicate_ids, empty_mask, trusted, json, near, shuffle, all;
} data_values;

#define DATA_FIELD(member) MOSA_OPTION_FIELD(data_values, member)

// Rows of every command.
#define DATA_ROWS_READ                                                                                                 \
    {NULL,                                                                                                             \
     "--format",                                                                                                       \
     MOSA_OPTION_CHOICE,                                                                                               \
     "auto",                                                                                                           \
     .choices = "auto|text|openai|openai-dpo|alpaca|sharegpt|completion|preference",                                   \
     .help = "Format of the records; auto looks at the first one's fields.",                                           \
     DATA_FIELD(format)},                                                                                              \
        {NULL,                                                                                                         \
         "--column",                                                                                                   \
         MOSA_OPTION_LIST,                                                                                             \
         .value = "NAME=FIELD",                                                                                        \
         .help = "Where a column is: prompt=question, response=answer, query, history, system, tools, messages, "      \
                 "chosen, rejected, kto_tag, text, id. Repeat it for several.",                                        \
         DATA_FIELD(columns)},                                                                                         \
        {NULL,                                                                                                         \
         "--dataset-info",                                                                                             \
         MOSA_OPTION_STRING,                                                                                           \
         .value = "FILE",                                                                                              \
         .help = "LLaMA-Factory's dataset_info.json; the entry with the data's file name is used.",                    \
         DATA_FIELD(dataset_info)},                                                                                    \
        {NULL,                                                                                                         \
         "--text-unit",                                                                                                \
         MOSA_OPTION_CHOICE,                                                                                           \
         "file",                                                                                                       \
         .choices = "file|line|paragraph",                                                                             \
         .help = "What a document is in plain text.",                                                                  \
         DATA_FIELD(text_unit)},                                                                                       \
        {NULL, "--ignore-unknown", MOSA_OPTION_BOOL, .help = "Pass over fields that the format does not know.",        \
         DATA_FIELD(ignore_unknown)},                                                                                  \
        {NULL, "--allow-duplicate-ids", MOSA_OPTION_BOOL, .help = "Take records whose id was there before.",           \
         DATA_FIELD(duplicate_ids)},                                                                                   \
    {                                                                                                                  \
        NULL, "--threads", MOSA_OPTION_INT, "0", .aliases = "-t", .min = 0, .max = 1024,                               \
                                                 .help = "0 uses every CPU that this process may run on.",             \
                                                 DATA_FIELD(threads)                                                   \
    }

// Rows of the commands that tokenize.
#define DATA_ROWS_TOKENIZE                                                                                             \
    {NULL,                                                                                                             \
     "--model",                                                                                                        \
     MOSA_OPTION_STRING,                                                                                               \
     .aliases = "-m",                                                                                                  \
     .value = "MODEL",                                                                                                 \
     .help = "Whose tokenizer and chat template: a GGUF file, a folder, a pulled name.",                               \
     DATA_FIELD(model)},                                                                                               \
        {NULL,                                                                                                         \
         "--chat-template",                                                                                            \
         MOSA_OPTION_STRING,                                                                                           \
         .value = "FILE",                                                                                              \
         .help = "Instead of the model's own.",                                                                        \
         DATA_FIELD(chat_template)},                                                                                   \
        {NULL,                                                                                                         \
         "--template-kwargs",                                                                                          \
         MOSA_OPTION_STRING,                                                                                           \
         .aliases = "--chat-template-kwargs",                                                                          \
         .value = "JSON",                                                                                              \
         .help = "Further variables of the template: {\"enable_thinking\": false}.",                                   \
         DATA_FIELD(kwargs)},                                                                                          \
        {NULL,                                                                                                         \
         "--train-on",                                                                                                 \
         MOSA_OPTION_CHOICE,                                                                                           \
         "assistant",                                                                                                  \
         .choices = "assistant|last|all",                                                                              \
         .help = "Which tokens of a conversation are supervised.",                                                     \
         DATA_FIELD(train_on)},                                                                                        \
        {NULL,                                                                                                         \
         "--seq-len",                                                                                                  \
         MOSA_OPTION_INT,                                                                                              \
         "0",                                                                                                          \
         .aliases = "--cutoff-len",                                                                                    \
         .min = 0,                                                                                                     \
         .max = 1 << 24,                                                                                               \
         .help = "Longest example in rows, one less than its tokens; 0 = no limit.",                                   \
         DATA_FIELD(seq_len)},                                                                                         \
        {NULL,                                                                                                         \
         "--overlong",                                                                                                 \
         MOSA_OPTION_CHOICE,                                                                                           \
         "default",                                                                                                    \
         .choices = "default|refuse|truncate|drop|split",                                                              \
         .help = "What becomes of longer ones. Default: texts are split, others refused.",                             \
         DATA_FIELD(overlong)},                                                                                        \
        {NULL,                                                                                                         \
         "--eos",                                                                                                      \
         MOSA_OPTION_CHOICE,                                                                                           \
         "default",                                                                                                    \
         .choices = "default|append|none",                                                                             \
         .help = "Default: texts get EOS, a chat must end in an end token. append adds it to chats too.",              \
         DATA_FIELD(eos)},                                                                                             \
        {NULL, "--trust-text", MOSA_OPTION_BOOL, .help = "Texts may spell out control tokens (ready-made chats).",     \
         DATA_FIELD(trusted)},                                                                                         \
    {                                                                                                                  \
        NULL, "--allow-empty-mask", MOSA_OPTION_BOOL, .help = "Drop records without a supervised token.",              \
                                                      DATA_FIELD(empty_mask)                                           \
    }

// Everything that reading needs, made of the flags. Zero it; data_setup_finish frees.
typedef struct data_setup {
    mosa_prepare_options options;
    mosa_model_text *text; // NULL where the command has no --model
    mosa_pool *pool;
    json_t *info, *kwargs;
} data_setup;

// Reads the flags; with `tokenizes`, opens the model too.
mosa_status data_setup_init(data_setup *setup, const data_values *values, const mosa_string_list *files, bool tokenizes,
                            mosa_arena *arena, mosa_error *err);
void data_setup_finish(data_setup *setup);

// A bar on standard error, for a terminal: percent, rate, time left. Drawn at most ten times a second.
typedef struct data_bar {
    const char *what;
    uint64_t begin_ns, drawn_ns;
    bool terminal, drawn;
} data_bar;
void data_bar_init(data_bar *bar, const char *what);
void data_bar_draw(data_bar *bar, const mosa_data_progress *progress);
void data_bar_clear(data_bar *bar);

// Prints a fault in red, its hint below, on standard error.
void data_print_issue(const mosa_error *error);

#endif
