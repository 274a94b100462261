// mosa data pack: files to a token store that a training run reads at once; says how full its batches would be.
#include "base/clock.h"
#include "cli/data_options.h"
#include "train/data/loader.h"

#include <stdio.h>

static const mosa_option options[] = {
    DATA_ROWS_TOKENIZE,
    {NULL, "--out", MOSA_OPTION_STRING, "data.mosadata", .aliases = "-o", .value = "FILE", .help = "The store.",
     DATA_FIELD(out)},
    {NULL, "--rows", MOSA_OPTION_INT, "0", .min = 0, .max = 1 << 26,
     .help = "Rows of a batch, for the report; 0 = --seq-len.", DATA_FIELD(rows)},
    {NULL, "--json", MOSA_OPTION_BOOL, .help = "Print one JSON object.", DATA_FIELD(json)},
    DATA_ROWS_READ,
};
static const mosa_option_table table = {.options = options, .n_options = MOSA_COUNT(options)};

typedef struct packing {
    uint64_t batches, rows;
    double seconds;
} packing;

// An epoch's batches and their rows.
static mosa_status measure(const char *path, int32_t max_rows, packing *out, mosa_error *err) {
    mosa_store *store;
    mosa_loader *loader = NULL;
    MOSA_TRY(mosa_store_open(path, &store, err));
    uint64_t begin = mosa_clock_ns();
    mosa_loader_options o = {.max_rows = max_rows, .shuffle = true};
    const mosa_store *stores[] = {store};
    mosa_status status = mosa_loader_create(stores, 1, &o, &loader, err);
    if (status == MOSA_OK) status = mosa_loader_epoch_batches(loader, 0, &out->batches, err);
    const mosa_store_info *info = mosa_store_get_info(store);
    out->rows = info->n_tokens - info->n_examples;
    out->seconds = (double)(mosa_clock_ns() - begin) * 1e-9;
    mosa_loader_destroy(loader);
    mosa_store_close(store);
    return status;
}

static void print_report(const data_values *values, const mosa_prepare_report *r, const packing *p, int32_t rows,
                         double s) {
    const mosa_store_info *i = &r->store;
    double full = p->batches ? (double)p->rows / ((double)p->batches * rows) : 0;
    if (values->json) {
        printf("{\"store\":\"%s\",\"format\":\"%s\",\"kind\":\"%s\",\"records\":%llu,\"dropped\":%llu,\"truncated\":"
               "%llu,\"split\":%llu,\"examples\":%llu,\"tokens\":%llu,\"supervised\":%llu,\"longest\":%d,\"rows\":%d,"
               "\"batches\":%llu,\"fill\":%.4f,\"seconds\":%.3f}\n",
               values->out, mosa_data_format_name(r->format), mosa_data_kind_name(i->kind),
               (unsigned long long)r->records, (unsigned long long)r->dropped, (unsigned long long)r->truncated,
               (unsigned long long)r->split, (unsigned long long)i->n_examples, (unsigned long long)i->n_tokens,
               (unsigned long long)i->n_supervised, (int)i->longest, (int)rows, (unsigned long long)p->batches, full,
               s);
        return;
    }
    printf("%s: %llu records of format %s (%s), %llu examples, %llu tokens, %llu supervised\n", values->out,
           (unsigned long long)r->records, mosa_data_format_name(r->format), mosa_data_kind_name(i->kind),
           (unsigned long long)i->n_examples, (unsigned long long)i->n_tokens, (unsigned long long)i->n_supervised);
    if (r->dropped || r->truncated || r->split)
        printf("%llu records were dropped, %llu cut off, %llu split\n", (unsigned long long)r->dropped,
               (unsigned long long)r->truncated, (unsigned long long)r->split);
    printf("Batches of %d rows: %llu, %.1f %% full (best fit); packed in %.3f s\n", (int)rows,
           (unsigned long long)p->batches, 100 * full, p->seconds);
    printf("%.2f s, %.2f million tokens/s\n", s, (double)i->n_tokens * 1e-6 / s);
}

static void on_progress(void *user, const mosa_data_progress *progress) {
    data_bar_draw(user, progress);
}
static void on_issue(void *user, const mosa_data_issue *issue) {
    data_bar_clear(user);
    data_print_issue(issue->error);
}

static mosa_status run(mosa_command_call *call, mosa_error *err) {
    const data_values *values = call->values;
    data_setup setup = {0};
    data_bar bar;
    mosa_prepare_report report;
    MOSA_TRY(data_setup_init(&setup, values, &call->arguments, true, call->arena, err));
    uint64_t begin = mosa_clock_ns();
    data_bar_init(&bar, "tokenizing");
    setup.options.on_issue = on_issue;
    setup.options.on_progress = on_progress;
    setup.options.user = &bar;
    mosa_status status = mosa_data_prepare(&setup.options, setup.text, setup.pool, values->out, &report, err);
    data_bar_clear(&bar);
    data_setup_finish(&setup);
    if (status != MOSA_OK) return status;
    double s = (double)(mosa_clock_ns() - begin) * 1e-9;
    int64_t rows = values->rows ? values->rows : values->seq_len;
    int64_t least = (report.store.longest - 1) * mosa_store_unit_examples(report.store.kind);
    packing p;
    if (rows < least) rows = least;
    MOSA_TRY(measure(values->out, (int32_t)rows, &p, err));
    print_report(values, &report, &p, (int32_t)rows, s);
    return MOSA_OK;
}

extern const mosa_command mosa_command_data_pack;
const mosa_command mosa_command_data_pack = {
    .name = "data pack",
    .group = MOSA_GROUP_HIDDEN,
    .summary = "Tokenize training data into one file that is ready to train on",
    .usage = "FILE...",
    .description =
        "Checks every record, renders and tokenizes it, and writes ids and loss weights to one file. A record "
        "that cannot be trained on refuses the whole, with its file and line.\n\n"
        "  mosa data pack chats.jsonl --model model.gguf --seq-len 2048 --out chats.mosadata\n"
        "  mosa data pack books/ --model model.gguf --seq-len 1024",
    .options = &table,
    .values_bytes = sizeof(data_values),
    .min_arguments = 1,
    .max_arguments = -1,
    .run = run,
};
