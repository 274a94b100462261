// A model in this process, for commands that talk to one directly: common flags, opening, and a streamed answer.
#ifndef MOSA_CLI_LOCAL_MODEL_H
#define MOSA_CLI_LOCAL_MODEL_H

#include "base/status.h"
#include "codec/config.h"
#include "mosa/mosa.h"

#include <stdio.h>

// Flags that run, chat and bench share; the first member of each command's values.
typedef struct mosa_local_flags {
    int64_t threads, ctx, max_tokens, seed, top_k;
    double temperature, top_p, min_p;
    int64_t draft_tokens;
    const char *adapter;                       // path; NULL = none
    const char *json_schema, *grammar, *regex; // what the answer must be: two paths, a pattern; at most one is set
    const char *kv_type, *quantize, *device, *speculate, *draft_model;
    bool stats;
} mosa_local_flags;

#define MOSA_LOCAL_ADAPTER "adapter" // the name that local.adapter is loaded under

// Rows for a command's table; `values` is the type of its values, whose member `local` is a mosa_local_flags.
#define MOSA_LOCAL_ENGINE_OPTIONS(values)                                                                              \
    {.flag = "--threads",                                                                                              \
     .aliases = "-t",                                                                                                  \
     .type = MOSA_OPTION_INT,                                                                                          \
     .fallback = "0",                                                                                                  \
     .min = 0,                                                                                                         \
     .max = 1024,                                                                                                      \
     .help = "Kernel threads; 0 uses every CPU that this process may run on.",                                         \
     MOSA_OPTION_FIELD(values, local.threads)},                                                                        \
        {.flag = "--ctx",                                                                                              \
         .aliases = "--max-model-len -c --ctx-size",                                                                   \
         .type = MOSA_OPTION_INT,                                                                                      \
         .fallback = "0",                                                                                              \
         .min = 0,                                                                                                     \
         .max = 16777216,                                                                                              \
         .help = "Longest sequence in tokens; 0 takes the model's limit, if memory allows.",                           \
         MOSA_OPTION_FIELD(values, local.ctx)},                                                                        \
        {.flag = "--kv-type",                                                                                          \
         .aliases = "--kv-cache-dtype",                                                                                \
         .type = MOSA_OPTION_CHOICE,                                                                                   \
         .fallback = "f16",                                                                                            \
         .choices = "f16|f32|q8_0",                                                                                    \
         .help = "Type of cached keys and values; q8_0 takes half the memory of f16.",                                 \
         MOSA_OPTION_FIELD(values, local.kv_type)},                                                                    \
        {.flag = "--quantize",                                                                                         \
         .type = MOSA_OPTION_CHOICE,                                                                                   \
         .choices = "q8_0|q4_k",                                                                                       \
         .help = "Quantise the matrices of an unquantised model while loading.",                                       \
         MOSA_OPTION_FIELD(values, local.quantize)},                                                                   \
        {.flag = "--speculate",                                                                                        \
         .type = MOSA_OPTION_CHOICE,                                                                                   \
         .choices = "off|ngram|draft",                                                                                 \
         .help = "Guess tokens ahead: from the text so far, or with --draft-model. The output stays the same.",        \
         MOSA_OPTION_FIELD(values, local.speculate)},                                                                  \
        {.flag = "--draft-model",                                                                                      \
         .aliases = "--model-draft -md",                                                                               \
         .type = MOSA_OPTION_STRING,                                                                                   \
         .value = "PATH",                                                                                              \
         .help = "Small model with the same vocabulary that guesses tokens ahead.",                                    \
         MOSA_OPTION_FIELD(values, local.draft_model)},                                                                \
        {.flag = "--draft-tokens",                                                                                     \
         .type = MOSA_OPTION_INT,                                                                                      \
         .fallback = "8",                                                                                              \
         .min = 1,                                                                                                     \
         .max = 64,                                                                                                    \
         .help = "Tokens that are guessed ahead at most.",                                                             \
         MOSA_OPTION_FIELD(values, local.draft_tokens)},                                                               \
    {                                                                                                                  \
        .flag = "--device", .type = MOSA_OPTION_STRING, .fallback = "cpu", .choices = "cpu|cpu:ref|cpu:avx2|cuda:N",   \
        .help = "Where to run; `mosa devices` lists what there is. cpu:ref uses the plain C kernels only.",            \
        MOSA_OPTION_FIELD(values, local.device)                                                                        \
    }

#define MOSA_LOCAL_ADAPTER_OPTION(values)                                                                              \
    {                                                                                                                  \
        .flag = "--adapter", .aliases = "--lora", .type = MOSA_OPTION_STRING, .value = "PATH",                         \
        .help = "LoRA adapter to answer with: a PEFT folder or a GGUF file.", MOSA_OPTION_FIELD(values, local.adapter) \
    }

#define MOSA_LOCAL_CONSTRAINT_OPTIONS(values)                                                                          \
    {.flag = "--json-schema",                                                                                          \
     .aliases = "--json-schema-file -jf",                                                                              \
     .type = MOSA_OPTION_STRING,                                                                                       \
     .value = "FILE",                                                                                                  \
     .help = "The answer is JSON that satisfies this JSON Schema.",                                                    \
     MOSA_OPTION_FIELD(values, local.json_schema)},                                                                    \
        {.flag = "--grammar",                                                                                          \
         .aliases = "--grammar-file",                                                                                  \
         .type = MOSA_OPTION_STRING,                                                                                   \
         .value = "FILE",                                                                                              \
         .help = "The answer follows this grammar (Lark-like or GBNF).",                                               \
         MOSA_OPTION_FIELD(values, local.grammar)},                                                                    \
    {                                                                                                                  \
        .flag = "--regex", .type = MOSA_OPTION_STRING, .value = "PATTERN",                                             \
        .help = "The whole answer matches this regular expression.", MOSA_OPTION_FIELD(values, local.regex)            \
    }

#define MOSA_LOCAL_SAMPLING_OPTIONS(values)                                                                            \
    {.flag = "--max-tokens",                                                                                           \
     .aliases = "-n --n-predict",                                                                                      \
     .type = MOSA_OPTION_INT,                                                                                          \
     .fallback = "512",                                                                                                \
     .min = 0,                                                                                                         \
     .max = 16777216,                                                                                                  \
     .help = "Tokens to generate at most; 0 goes on to the end of the context.",                                       \
     MOSA_OPTION_FIELD(values, local.max_tokens)},                                                                     \
        {.flag = "--temperature",                                                                                      \
         .aliases = "--temp",                                                                                          \
         .type = MOSA_OPTION_FLOAT,                                                                                    \
         .fallback = "0.7",                                                                                            \
         .min = 0,                                                                                                     \
         .max = 100,                                                                                                   \
         .help = "0 always takes the likeliest token.",                                                                \
         MOSA_OPTION_FIELD(values, local.temperature)},                                                                \
        {.flag = "--top-p",                                                                                            \
         .type = MOSA_OPTION_FLOAT,                                                                                    \
         .fallback = "0.95",                                                                                           \
         .min = 0,                                                                                                     \
         .max = 1,                                                                                                     \
         .help = "Sample from the smallest set of tokens with this probability in all.",                               \
         MOSA_OPTION_FIELD(values, local.top_p)},                                                                      \
        {.flag = "--top-k",                                                                                            \
         .type = MOSA_OPTION_INT,                                                                                      \
         .fallback = "0",                                                                                              \
         .min = 0,                                                                                                     \
         .max = 1000000000,                                                                                            \
         .help = "Sample from the k likeliest tokens; 0 is off.",                                                      \
         MOSA_OPTION_FIELD(values, local.top_k)},                                                                      \
        {.flag = "--min-p",                                                                                            \
         .type = MOSA_OPTION_FLOAT,                                                                                    \
         .fallback = "0",                                                                                              \
         .min = 0,                                                                                                     \
         .max = 1,                                                                                                     \
         .help = "Drop tokens less likely than this share of the likeliest.",                                          \
         MOSA_OPTION_FIELD(values, local.min_p)},                                                                      \
        {.flag = "--seed",                                                                                             \
         .type = MOSA_OPTION_INT,                                                                                      \
         .fallback = "0",                                                                                              \
         .min = 0,                                                                                                     \
         .max = 9007199254740992.0,                                                                                    \
         .help = "Same seed, same answer.",                                                                            \
         MOSA_OPTION_FIELD(values, local.seed)},                                                                       \
    {                                                                                                                  \
        .flag = "--stats", .type = MOSA_OPTION_BOOL, .help = "Print speed and token counts at the end.",               \
        MOSA_OPTION_FIELD(values, local.stats)                                                                         \
    }

// Opens the model that `name` means (cli/model_path.h) with these flags.
mosa_status mosa_local_open(const char *name, const mosa_local_flags *flags, int max_sequences, mosa_engine **out,
                            mosa_error *err);

typedef struct mosa_local_answer {
    mosa_buf text; // all of it
    int32_t prompt_tokens, cached_tokens, completion_tokens;
    int64_t first_token_ns; // from submission
    int64_t total_ns;
    uint64_t drafted, accepted; // tokens guessed ahead, and those that stood
    mosa_finish finish;
} mosa_local_answer;

// Generates from prompt tokens and writes text to `stream` as it comes. Ctrl-C ends the answer, not the program, while
// it runs. answer->text must be initialised; the caller finishes it.
mosa_status mosa_local_answer_tokens(mosa_engine *engine, const mosa_local_flags *flags, const int32_t *tokens,
                                     size_t n_tokens, FILE *stream, mosa_local_answer *answer, mosa_error *err);
void mosa_local_print_stats(const mosa_local_answer *answer);

// Tokens by mosa_tokenize or mosa_tokenize_chat, sized; *tokens is malloc'ed.
mosa_status mosa_local_tokenize(mosa_engine *engine, const char *text, bool chat_json, int32_t **tokens, size_t *n,
                                mosa_error *err);

#endif
