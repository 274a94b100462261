// mosa tokenizer train: a byte-level BPE vocabulary from text files, as a tokenizer.json that every tool reads.
//
// Files are mapped and cut at line ends into one range per thread and file, so they may be larger than memory; each
// thread counts words into a map of its own.
#include "base/clock.h"
#include "base/file.h"
#include "base/pool.h"
#include "cli/command.h"
#include "cli/tokenizer_files.h"
#include "codec/json.h"
#include "text/bpe_train.h"
#include "text/tokenizer_pre.h"
#include "text/unicode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct tokenizer_values {
    int64_t vocab_size, min_frequency, threads;
    const char *out, *pre, *field;
    mosa_string_list special;
} tokenizer_values;

static const mosa_option options[] = {
    {.flag = "--vocab-size",
     .aliases = "-n",
     .type = MOSA_OPTION_INT,
     .fallback = "32000",
     .min = 257,
     .max = 4194304,
     .help = "Tokens in all: special tokens, the 256 bytes, then merges.",
     MOSA_OPTION_FIELD(tokenizer_values, vocab_size)},
    {.flag = "--out",
     .aliases = "-o",
     .type = MOSA_OPTION_STRING,
     .fallback = "tokenizer",
     .value = "FOLDER",
     .help = "Folder for tokenizer.json and tokenizer_config.json.",
     MOSA_OPTION_FIELD(tokenizer_values, out)},
    {.flag = "--pre",
     .type = MOSA_OPTION_STRING,
     .fallback = "gpt-2",
     .value = "NAME",
     .help = "How text is cut into words before merging, by the name that GGUF gives it: gpt-2, llama-bpe, qwen2, "
             "gpt-4o, tekken and others.",
     MOSA_OPTION_FIELD(tokenizer_values, pre)},
    {.flag = "--special",
     .type = MOSA_OPTION_LIST,
     .value = "TOKEN",
     .help = "Special token, in order of id from 0; repeat it for several. Default: <|endoftext|>. The first one is "
             "also the end-of-text token.",
     MOSA_OPTION_FIELD(tokenizer_values, special)},
    {.flag = "--min-frequency",
     .type = MOSA_OPTION_INT,
     .fallback = "0",
     .min = 0,
     .max = 1ll << 40,
     .help = "Pairs that occur less often are not merged.",
     MOSA_OPTION_FIELD(tokenizer_values, min_frequency)},
    {.flag = "--field",
     .type = MOSA_OPTION_STRING,
     .fallback = "text",
     .value = "NAME",
     .help = "Where the text is in each line of a .jsonl file.",
     MOSA_OPTION_FIELD(tokenizer_values, field)},
    {.flag = "--threads",
     .aliases = "-t",
     .type = MOSA_OPTION_INT,
     .fallback = "0",
     .min = 0,
     .max = 1024,
     .help = "Threads that count words; 0 uses every CPU that this process may run on.",
     MOSA_OPTION_FIELD(tokenizer_values, threads)},
};
static const mosa_option_table table = {.options = options, .n_options = MOSA_COUNT(options)};

enum { SPECIAL_MAX = 1024 };

// --- counting -------------------------------------------------------------------------------------------------------

typedef struct counting {
    const char *path, *field;
    mosa_slice bytes; // of the mapped file
    bool jsonl;
    mosa_scan_fn scan;
    mosa_word_counts *counts; // (threads)
    mosa_error *errors;       // (threads)
} counting;

static size_t next_line(mosa_slice bytes, size_t at) {
    const char *end = at < bytes.len ? memchr(bytes.data + at, '\n', bytes.len - at) : NULL;
    return end ? (size_t)(end - bytes.data) + 1 : bytes.len;
}

static size_t line_number(mosa_slice bytes, size_t at) {
    size_t n = 1;
    for (size_t i = 0; i < at; i = next_line(bytes, i)) n++;
    return n;
}

static mosa_status count_record(const counting *c, mosa_slice line, mosa_word_counts *counts, mosa_error *err) {
    MOSA_AUTO_JSON json_t *record = NULL;
    MOSA_TRY(mosa_json_parse(line, NULL, &record, err));
    const json_t *text = json_object_get(record, c->field);
    if (!json_is_string(text)) return mosa_fail(err, MOSA_EINVALID, "there is no text in field \"%s\"", c->field);
    mosa_word_counts_add_text(counts, c->scan, (mosa_slice){json_string_value(text), json_string_length(text)});
    return MOSA_OK;
}

static mosa_status count_line(const counting *c, mosa_slice line, mosa_word_counts *counts, mosa_error *err) {
    if (c->jsonl) {
        bool blank = strspn(line.data, " \t\r\n") >= line.len; // a mapped line ends in a newline, or is the file's last
        return blank ? MOSA_OK : count_record(c, line, counts, err);
    }
    if (mosa_utf8_valid_prefix(line.data, line.len) != line.len)
        return mosa_fail(err, MOSA_EINVALID, "this is not UTF-8");
    mosa_word_counts_add_text(counts, c->scan, line);
    return MOSA_OK;
}

static void count_share(void *arg, int thread, int n_threads) {
    counting *c = arg;
    size_t share = c->bytes.len / (size_t)n_threads;
    size_t begin = thread ? next_line(c->bytes, share * (size_t)thread - 1) : 0;
    size_t end = thread + 1 < n_threads ? next_line(c->bytes, share * (size_t)(thread + 1) - 1) : c->bytes.len;
    mosa_error *err = &c->errors[thread];
    if (c->bytes.len < (size_t)n_threads) begin = thread ? c->bytes.len : 0, end = c->bytes.len;
    for (size_t at = begin; at < end && err->status == MOSA_OK;) {
        size_t next = next_line(c->bytes, at);
        mosa_slice line = {c->bytes.data + at, next - at};
        if (count_line(c, line, &c->counts[thread], err) != MOSA_OK) {
            char where[512];
            (void)snprintf(where, sizeof where, "%s:%zu", c->path, line_number(c->bytes, at));
            (void)mosa_fail_prefix(err, where);
        }
        at = next;
    }
}

static mosa_status count_file(mosa_pool *pool, counting *c, mosa_error *err) {
    mosa_file_map map = {0};
    MOSA_TRY(mosa_file_map_open(c->path, &map, err));
    c->bytes = (mosa_slice){(const char *)map.data, map.size};
    c->jsonl = mosa_str_ends_with(c->path, ".jsonl");
    mosa_pool_run(pool, count_share, c);
    mosa_file_map_close(&map);
    for (int i = 0; i < mosa_pool_threads(pool); i++)
        if (c->errors[i].status != MOSA_OK) {
            *err = c->errors[i];
            return err->status;
        }
    return MOSA_OK;
}

// Counts the words of all files into counts[0].
static mosa_status count_files(mosa_pool *pool, counting *c, const mosa_string_list *files, mosa_error *err) {
    for (size_t i = 1; i < files->count; i++) { // the first argument is the verb
        c->path = files->items[i];
        if (isatty(STDERR_FILENO)) fprintf(stderr, "\r\033[Kcounting words: %s", c->path);
        MOSA_TRY(count_file(pool, c, err));
    }
    for (int i = 1; i < mosa_pool_threads(pool); i++) mosa_word_counts_add_all(&c->counts[0], &c->counts[i]);
    if (c->counts[0].failed) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the words");
    if (c->counts[0].n_words == 0) return mosa_fail(err, MOSA_EINVALID, "the files hold no text");
    return MOSA_OK;
}

// --- training -------------------------------------------------------------------------------------------------------

typedef struct bar {
    size_t vocab_size;
    uint64_t begin_ns;
} bar;

static void draw(void *user, size_t tokens) {
    const bar *b = user;
    double s = (double)(mosa_clock_ns() - b->begin_ns) * 1e-9;
    fprintf(stderr, "\r\033[Kmerging: %zu of %zu tokens, %.1f s", tokens, b->vocab_size, s);
}

static mosa_status train(const tokenizer_values *values, const mosa_pre_rules *rules, const mosa_word_counts *words,
                         mosa_error *err) {
    mosa_slice special[SPECIAL_MAX] = {MOSA_SLICE("<|endoftext|>")};
    size_t n_special = values->special.count ? values->special.count : 1;
    if (n_special > SPECIAL_MAX)
        return mosa_fail(err, MOSA_EINVALID, "--special is given %zu times, at most %d", n_special, SPECIAL_MAX);
    for (size_t i = 0; i < values->special.count; i++) special[i] = mosa_slice_of(values->special.items[i]);
    bool terminal = isatty(STDERR_FILENO);
    bar progress = {(size_t)values->vocab_size, mosa_clock_ns()};
    mosa_bpe_train_options options = {.vocab_size = (size_t)values->vocab_size,
                                      .min_frequency = (uint64_t)values->min_frequency,
                                      .special = special,
                                      .n_special = n_special,
                                      .progress = terminal ? draw : NULL,
                                      .user = &progress};
    mosa_bpe_vocab vocab;
    mosa_status status = mosa_bpe_train(words, &options, &vocab, err);
    if (terminal) fprintf(stderr, "\r\033[K");
    if (status != MOSA_OK) return status;
    status = mosa_tokenizer_files_write(values->out, &vocab, rules, err);
    if (status == MOSA_OK) {
        printf("%s: %zu tokens, %zu merges from %zu different words\n", values->out, vocab.n_tokens, vocab.n_merges,
               words->n_words);
        if (vocab.n_tokens < (size_t)values->vocab_size)
            printf("The text has no more pairs to merge: the vocabulary is smaller than --vocab-size %lld.\n",
                   (long long)values->vocab_size);
    }
    mosa_bpe_vocab_finish(&vocab);
    return status;
}

static mosa_status count_and_train(mosa_command_call *call, mosa_pool *pool, const mosa_pre_rules *rules,
                                   mosa_error *err) {
    const tokenizer_values *values = call->values;
    size_t threads = (size_t)mosa_pool_threads(pool);
    counting c = {.scan = mosa_scan_find(mosa_slice_of(rules->patterns[0])), .field = values->field};
    c.counts = MOSA_ARENA_ARRAY(call->arena, mosa_word_counts, threads);
    c.errors = MOSA_ARENA_ARRAY(call->arena, mosa_error, threads);
    if (!c.counts || !c.errors) return mosa_fail(err, MOSA_ENOMEM, "out of memory");
    for (size_t i = 0; i < threads; i++) {
        mosa_word_counts_init(&c.counts[i]);
        c.errors[i] = (mosa_error){0};
    }
    mosa_status status = count_files(pool, &c, &call->arguments, err);
    if (status == MOSA_OK) status = train(values, rules, &c.counts[0], err);
    for (size_t i = 0; i < threads; i++) mosa_word_counts_finish(&c.counts[i]);
    return status;
}

static mosa_status run(mosa_command_call *call, mosa_error *err) {
    const tokenizer_values *values = call->values;
    if (strcmp(call->arguments.items[0], "train") != 0)
        return mosa_fail(err, MOSA_EINVALID, "mosa tokenizer %s: there is only train", call->arguments.items[0]);
    const mosa_pre_rules *rules = mosa_pre_find(mosa_slice_of(values->pre));
    bool known = rules && !rules->patterns[1] && mosa_scan_find(mosa_slice_of(rules->patterns[0]));
    if (!known)
        return mosa_fail(err, MOSA_EINVALID, "--pre %s cannot be trained with; gpt-2, llama-bpe, qwen2, gpt-4o can",
                         values->pre);
    mosa_pool *pool;
    MOSA_TRY(mosa_pool_create((int)values->threads, &pool, err));
    mosa_status status = count_and_train(call, pool, rules, err);
    mosa_pool_destroy(pool);
    return status;
}

extern const mosa_command mosa_command_tokenizer;
const mosa_command mosa_command_tokenizer = {
    .name = "tokenizer",
    .group = MOSA_GROUP_TOOLS,
    .summary = "Train a tokenizer on text files",
    .usage = "train FILE...",
    .description =
        "Byte-level BPE. The result equals that of Hugging Face's tokenizers for the same files, and its "
        "tokenizer.json is read by them, by transformers and by every mosa command. Files are plain text (a line is "
        "a text, as there), or .jsonl with the text in a field.\n\n"
        "  mosa tokenizer train books/*.txt --vocab-size 32000 --out my-tokenizer\n"
        "  mosa tokenizer train data.jsonl --pre llama-bpe --special '<|begin_of_text|>' --special '<|end_of_text|>'",
    .options = &table,
    .values_bytes = sizeof(tokenizer_values),
    .min_arguments = 2,
    .max_arguments = -1,
    .run = run,
};
