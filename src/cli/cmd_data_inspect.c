// mosa data inspect: what a model would be trained on, token by token: masked text dim, supervised text bright.
#include "cli/data_options.h"
#include "codec/json.h"
#include "text/unicode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const mosa_option options[] = {
    DATA_ROWS_TOKENIZE,
    {NULL, "--count", MOSA_OPTION_INT, "3", .aliases = "-n", .min = 1, .max = 1e9, .help = "Records to show.",
     DATA_FIELD(count)},
    {NULL, "--line", MOSA_OPTION_INT, "0", .min = 0, .max = 1e15, .help = "Only the record that begins at this line.",
     DATA_FIELD(line)},
    {NULL, "--json", MOSA_OPTION_BOOL, .help = "One JSON object a line: file, line, role, ids, weights, spans.",
     DATA_FIELD(json)},
    DATA_ROWS_READ,
};
static const mosa_option_table table = {.options = options, .n_options = MOSA_COUNT(options)};

typedef struct showing {
    const data_values *values;
    const mosa_tokenizer *tokenizer;
    int64_t shown;
    bool colour;
} showing;

static const char *const roles[] = {"", "chosen", "rejected", "good", "bad"};

// --- for people -----------------------------------------------------------------------------------------------------

// Control bytes and what is no UTF-8 are shown as \xNN.
static void print_text(mosa_slice text) {
    for (size_t at = 0; at < text.len;) {
        unsigned used;
        unsigned char byte = (unsigned char)text.data[at];
        bool whole = mosa_utf8_scan(text.data + at, text.len - at, &used) == MOSA_UTF8_CHAR;
        if (whole && (byte >= 0x20 || byte == '\n' || byte == '\t') && byte != 0x7F) {
            fwrite(text.data + at, 1, used, stdout);
            at += used;
        } else {
            printf("\\x%02X", byte);
            at++;
        }
    }
}

// The end of the tokens from `t` on that have one weight, and their text.
static int32_t take_span(const showing *s, const mosa_train_example *e, int32_t t, mosa_buf *text) {
    float weight = e->weight[t];
    mosa_buf_clear(text);
    for (; t < e->n && e->weight[t] == weight; t++)
        mosa_buf_append_slice(text, mosa_tokenizer_token_bytes(s->tokenizer, e->ids[t]));
    return t;
}

static void print_example(const showing *s, const mosa_train_example *e) {
    mosa_buf text = {0};
    for (int32_t t = 0; t < e->n;) {
        float weight = e->weight[t];
        int32_t end = take_span(s, e, t, &text);
        if (s->colour)
            printf("%s", weight != 0 ? "\033[1;92m" : "\033[2m");
        else if (weight != 0)
            printf("⟦");
        print_text(mosa_buf_slice(&text));
        if (s->colour)
            printf("\033[0m");
        else if (weight != 0)
            printf("⟧");
        if (weight != 0 && weight != 1) printf("×%g", (double)weight);
        t = end;
    }
    mosa_buf_finish(&text);
    printf("\n");
}

static int32_t count_supervised(const mosa_train_example *e) {
    int32_t n = 0;
    for (int32_t t = 0; t < e->n; t++) n += e->weight[t] != 0;
    return n;
}

static void print_head(const showing *s, const mosa_data_result *r, const mosa_train_example *e) {
    int32_t n = count_supervised(e);
    printf("%s%s:%llu%s%s%s  %d tokens, %d supervised (%.0f %%)\n", s->colour ? "\033[36m" : "", r->path,
           (unsigned long long)r->raw.line, s->colour ? "\033[0m" : "", roles[e->role][0] ? "  " : "", roles[e->role],
           (int)e->n, (int)n, 100.0 * n / e->n);
}

// --- for machines ---------------------------------------------------------------------------------------------------

static void append_spans(const showing *s, const mosa_train_example *e, mosa_buf *out) {
    mosa_buf text = {0};
    for (int32_t t = 0; t < e->n;) {
        float weight = e->weight[t];
        int32_t end = take_span(s, e, t, &text);
        mosa_buf_printf(out, "%s{\"tokens\":%d,\"weight\":", t ? "," : "", (int)(end - t));
        mosa_json_append_f64(out, (double)weight);
        mosa_buf_append_str(out, ",\"text\":");
        mosa_json_append_string(out, mosa_buf_slice(&text));
        mosa_buf_append_char(out, '}');
        t = end;
    }
    mosa_buf_finish(&text);
}

static mosa_status print_json(const showing *s, const mosa_data_result *r, const mosa_train_example *e,
                              mosa_error *err) {
    mosa_buf out = {0};
    mosa_buf_append_str(&out, "{\"file\":");
    mosa_json_append_string(&out, mosa_slice_of(r->path));
    mosa_buf_printf(&out, ",\"line\":%llu,\"kind\":\"%s\",\"role\":\"%s\",\"tokens\":%d,\"supervised\":%d,\"ids\":[",
                    (unsigned long long)r->raw.line, mosa_data_kind_name(r->kind), roles[e->role], (int)e->n,
                    (int)count_supervised(e));
    for (int32_t t = 0; t < e->n; t++) mosa_buf_printf(&out, "%s%d", t ? "," : "", (int)e->ids[t]);
    mosa_buf_append_str(&out, "],\"weights\":[");
    for (int32_t t = 0; t < e->n; t++) {
        if (t) mosa_buf_append_char(&out, ',');
        mosa_json_append_f64(&out, (double)e->weight[t]);
    }
    mosa_buf_append_str(&out, "],\"spans\":[");
    append_spans(s, e, &out);
    mosa_buf_append_str(&out, "]}\n");
    bool failed = mosa_buf_failed(&out);
    if (!failed) fwrite(out.data, 1, out.len, stdout);
    mosa_buf_finish(&out);
    return failed ? mosa_fail(err, MOSA_ENOMEM, "out of memory for the output") : MOSA_OK;
}

// --- command --------------------------------------------------------------------------------------------------------

static mosa_status show(void *user, const mosa_data_result *result, mosa_error *err) {
    showing *s = user;
    if (s->values->line && (uint64_t)s->values->line != result->raw.line) return MOSA_OK;
    for (size_t i = 0; i < result->n_examples; i++) {
        const mosa_train_example *e = &result->examples[i];
        if (s->values->json) {
            MOSA_TRY(print_json(s, result, e, err));
        } else {
            print_head(s, result, e);
            print_example(s, e);
            printf("\n");
        }
    }
    if (result->n_examples == 0) return MOSA_OK;
    bool done = ++s->shown >= s->values->count || s->values->line;
    return done ? mosa_fail(err, MOSA_ECANCELLED, "enough") : MOSA_OK;
}

static void on_issue(void *user, const mosa_data_issue *issue) {
    (void)user;
    fflush(stdout);
    data_print_issue(issue->error);
}

static mosa_status run(mosa_command_call *call, mosa_error *err) {
    const data_values *values = call->values;
    data_setup setup = {0};
    MOSA_TRY(data_setup_init(&setup, values, &call->arguments, true, call->arena, err));
    showing s = {.values = values,
                 .tokenizer = mosa_model_text_tokenizer(setup.text),
                 .colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR")};
    setup.options.on_issue = on_issue;
    mosa_status status = mosa_data_each(&setup.options, setup.text, setup.pool, show, &s, NULL, err);
    data_setup_finish(&setup);
    if (status == MOSA_ECANCELLED) return MOSA_OK;
    if (status == MOSA_OK && s.shown == 0)
        return mosa_fail(err, MOSA_ENOTFOUND, "%s: no such record", call->arguments.items[0]);
    return status;
}

extern const mosa_command mosa_command_data_inspect;
const mosa_command mosa_command_data_inspect = {
    .name = "data inspect",
    .group = MOSA_GROUP_HIDDEN,
    .summary = "Show which tokens of training data are supervised",
    .usage = "FILE...",
    .description =
        "Renders records with the model's chat template and shows what is masked (dim) and what is supervised "
        "(bright; in brackets without colours).\n\n"
        "  mosa data inspect chats.jsonl --model model.gguf\n"
        "  mosa data inspect gsm8k.jsonl --column prompt=question --column response=answer -m model.gguf\n"
        "  mosa data inspect chats.jsonl -m model.gguf --line 17 --json",
    .options = &table,
    .values_bytes = sizeof(data_values),
    .min_arguments = 1,
    .max_arguments = -1,
    .run = run,
};
