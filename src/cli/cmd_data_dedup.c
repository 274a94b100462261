// mosa data dedup: training data without copies, exact or near.
#include "base/clock.h"
#include "cli/data_options.h"
#include "train/data/dedup.h"
#include "train/data/minhash.h"

#include <stdio.h>

static const mosa_option options[] = {
    {NULL, "--out", MOSA_OPTION_STRING, "deduplicated.jsonl", .aliases = "-o", .value = "FILE",
     .help = "Where the kept records go: JSON lines, or text as --text-unit cuts it.", DATA_FIELD(out)},
    {NULL, "--near", MOSA_OPTION_BOOL, .help = "Also remove near copies, found by MinHash.", DATA_FIELD(near)},
    {NULL, "--threshold", MOSA_OPTION_FLOAT, "0.8", .min = 0.05, .max = 1,
     .help = "Jaccard similarity of their words in a row from which on two records are near copies.",
     DATA_FIELD(threshold)},
    {NULL, "--permutations", MOSA_OPTION_INT, "128", .aliases = "--num-perm", .min = 16, .max = MOSA_MINHASH_MAX,
     .help = "Places of a signature, in sixteens: more find better, and take time.", DATA_FIELD(permutations)},
    {NULL, "--words", MOSA_OPTION_INT, "5", .aliases = "--ngram", .min = 1, .max = 32, .help = "Words in a row.",
     DATA_FIELD(shingle)},
    {NULL, "--memory", MOSA_OPTION_BYTES, "1G", .min = 1 << 20, .max = 1e15,
     .help = "For tables; less memory, more passes.", DATA_FIELD(memory)},
    {NULL, "--seed", MOSA_OPTION_INT, "0", .min = 0, .max = 9007199254740992.0, .help = "Of the signatures.",
     DATA_FIELD(seed)},
    {NULL, "--json", MOSA_OPTION_BOOL, .help = "Print one JSON object.", DATA_FIELD(json)},
    DATA_ROWS_READ,
};
static const mosa_option_table table = {.options = options, .n_options = MOSA_COUNT(options)};

static void on_progress(void *user, const char *what, uint64_t done, uint64_t total) {
    data_bar *bar = user;
    bar->what = what;
    data_bar_draw(bar, &(mosa_data_progress){.bytes_done = done, .bytes_total = total});
}

static void print_report(const data_values *v, const mosa_dedup_report *r, double s) {
    if (v->json) {
        printf("{\"out\":\"%s\",\"records\":%llu,\"exact\":%llu,\"near\":%llu,\"kept\":%llu,\"seconds\":%.3f}\n",
               v->out, (unsigned long long)r->records, (unsigned long long)r->exact, (unsigned long long)r->near,
               (unsigned long long)r->kept, s);
        return;
    }
    printf("%s: %llu of %llu records kept; %llu exact copies removed", v->out, (unsigned long long)r->kept,
           (unsigned long long)r->records, (unsigned long long)r->exact);
    if (v->near)
        printf(", %llu near ones (%d bands of %d, %d passes)", (unsigned long long)r->near, r->bands, r->rows,
               r->passes);
    printf("\n%.2f s\n", s);
}

static mosa_status run(mosa_command_call *call, mosa_error *err) {
    const data_values *v = call->values;
    data_setup setup = {0};
    data_bar bar;
    MOSA_TRY(data_setup_init(&setup, v, &call->arguments, false, call->arena, err));
    mosa_dedup_options o = {.paths = setup.options.paths,
                            .n_paths = setup.options.n_paths,
                            .layout = setup.options.layout,
                            .near = v->near,
                            .threshold = v->threshold,
                            .permutations = (int)(v->permutations / 16 * 16),
                            .words = (int)v->shingle,
                            .seed = (uint64_t)v->seed,
                            .memory_bytes = (size_t)v->memory,
                            .on_progress = on_progress,
                            .user = &bar};
    mosa_dedup_report report;
    uint64_t begin = mosa_clock_ns();
    data_bar_init(&bar, "reading");
    mosa_status status = mosa_data_dedup(&o, setup.pool, v->out, &report, err);
    data_bar_clear(&bar);
    data_setup_finish(&setup);
    if (status == MOSA_OK) print_report(v, &report, (double)(mosa_clock_ns() - begin) * 1e-9);
    return status;
}

extern const mosa_command mosa_command_data_dedup;
const mosa_command mosa_command_data_dedup = {
    .name = "data dedup",
    .group = MOSA_GROUP_HIDDEN,
    .summary = "Remove exact and near copies from training data",
    .usage = "FILE...",
    .description =
        "Two records are copies when they say the same, whatever their ids. Of copies the first stays. Works on "
        "files larger than memory.\n\n"
        "  mosa data dedup a.jsonl b.jsonl --out all.jsonl\n"
        "  mosa data dedup web/ --text-unit paragraph --near --threshold 0.7 --out web.txt",
    .options = &table,
    .values_bytes = sizeof(data_values),
    .min_arguments = 1,
    .max_arguments = -1,
    .run = run,
};
