// mosa data stats: how much there is to learn from, and how long its examples are.
#include "base/clock.h"
#include "cli/data_options.h"
#include "codec/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const mosa_option options[] = {
    DATA_ROWS_TOKENIZE,
    {NULL, "--json", MOSA_OPTION_BOOL, .help = "Print one JSON object.", DATA_FIELD(json)},
    DATA_ROWS_READ,
};
static const mosa_option_table table = {.options = options, .n_options = MOSA_COUNT(options)};

enum { LENGTHS_MAX = 1 << 20, BUCKETS = 16, BAR_CELLS = 48 };

typedef struct tally {
    uint64_t examples, tokens, supervised, roles[5];
    double weight_sum;
    int32_t longest, shortest;
    uint64_t *lengths; // (LENGTHS_MAX) examples of each length; the last one of all beyond
    data_bar bar;
    uint64_t issues;
} tally;

static mosa_status count(void *user, const mosa_data_result *result, mosa_error *err) {
    tally *t = user;
    (void)err;
    for (size_t i = 0; i < result->n_examples; i++) {
        const mosa_train_example *e = &result->examples[i];
        if (t->examples++ == 0 || e->n < t->shortest) t->shortest = e->n;
        if (e->n > t->longest) t->longest = e->n;
        t->lengths[e->n < LENGTHS_MAX ? e->n : LENGTHS_MAX - 1]++;
        t->tokens += (uint64_t)e->n;
        t->roles[e->role]++;
        for (int32_t k = 0; k < e->n; k++) {
            t->supervised += e->weight[k] != 0;
            t->weight_sum += (double)e->weight[k];
        }
    }
    return MOSA_OK;
}

static int percentile(const tally *t, double share) {
    uint64_t seen = 0, wanted = (uint64_t)(share * (double)t->examples);
    for (int i = 0; i < LENGTHS_MAX; i++) {
        seen += t->lengths[i];
        if (seen > wanted || seen == t->examples) return i;
    }
    return LENGTHS_MAX - 1;
}

// 1, 2 or 5 times a power of ten, so that the buckets reach `to`.
static int64_t nice_step(int64_t to) {
    static const int64_t factors[] = {1, 2, 5};
    for (int64_t power = 1;; power *= 10)
        for (size_t i = 0; i < MOSA_COUNT(factors); i++)
            if (factors[i] * power * BUCKETS > to) return factors[i] * power;
}

// Eighths of a cell.
static void print_bar(double share) {
    static const char *const parts[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    int eighths = (int)(share * BAR_CELLS * 8 + 0.5);
    if (eighths == 0 && share > 0) eighths = 1;
    for (int i = 0; i < eighths / 8; i++) fputs("█", stdout);
    fputs(parts[eighths % 8], stdout);
}

static void print_histogram(const tally *t) {
    uint64_t buckets[BUCKETS + 1] = {0}, most = 1;
    int64_t step = nice_step(percentile(t, 0.99));
    for (int64_t i = 0; i < LENGTHS_MAX; i++) buckets[i / step < BUCKETS ? i / step : BUCKETS] += t->lengths[i];
    int last = BUCKETS;
    for (int i = 0; i <= BUCKETS; i++) most = buckets[i] > most ? buckets[i] : most;
    while (last > 0 && buckets[last] == 0) last--;
    printf("\nTokens of an example\n");
    for (int i = 0; i <= last; i++) {
        if (i < BUCKETS)
            printf("%7lld – %-7lld %9llu ", (long long)(i * step), (long long)((i + 1) * step - 1),
                   (unsigned long long)buckets[i]);
        else
            printf("%7lld and more   %7llu ", (long long)(i * step), (unsigned long long)buckets[i]);
        print_bar((double)buckets[i] / (double)most);
        printf("\n");
    }
}

static void print_json(const tally *t, const mosa_prepare_report *r) {
    printf(
        "{\"format\":\"%s\",\"records\":%llu,\"refused\":%llu,\"dropped\":%llu,\"truncated\":%llu,\"split\":%llu,"
        "\"examples\":%llu,\"chosen\":%llu,\"rejected\":%llu,\"good\":%llu,\"bad\":%llu,\"tokens\":%llu,"
        "\"supervised\":%llu,\"weight_sum\":%.17g,\"length\":{\"min\":%d,\"p50\":%d,\"p90\":%d,\"p99\":%d,\"max\":%d,"
        "\"mean\":%.6g}}\n",
        mosa_data_format_name(r->format), (unsigned long long)r->records, (unsigned long long)r->issues,
        (unsigned long long)r->dropped, (unsigned long long)r->truncated, (unsigned long long)r->split,
        (unsigned long long)t->examples, (unsigned long long)t->roles[MOSA_EXAMPLE_CHOSEN],
        (unsigned long long)t->roles[MOSA_EXAMPLE_REJECTED], (unsigned long long)t->roles[MOSA_EXAMPLE_GOOD],
        (unsigned long long)t->roles[MOSA_EXAMPLE_BAD], (unsigned long long)t->tokens,
        (unsigned long long)t->supervised, t->weight_sum, (int)t->shortest, percentile(t, 0.5), percentile(t, 0.9),
        percentile(t, 0.99), (int)t->longest, t->examples ? (double)t->tokens / (double)t->examples : 0);
}

static void print_row(const char *name, uint64_t value) {
    if (value) printf("%-22s %14llu\n", name, (unsigned long long)value);
}

static void print_report(const tally *t, const mosa_prepare_report *r, double s) {
    printf("%-22s %14s\n", "format", mosa_data_format_name(r->format));
    print_row("records", r->records);
    print_row("  refused", r->issues);
    print_row("  dropped", r->dropped);
    print_row("  cut off", r->truncated);
    print_row("  split", r->split);
    print_row("examples", t->examples);
    print_row("  chosen", t->roles[MOSA_EXAMPLE_CHOSEN]);
    print_row("  rejected", t->roles[MOSA_EXAMPLE_REJECTED]);
    print_row("  good", t->roles[MOSA_EXAMPLE_GOOD]);
    print_row("  bad", t->roles[MOSA_EXAMPLE_BAD]);
    print_row("tokens", t->tokens);
    print_row("supervised", t->supervised);
    if (!t->examples) return;
    printf("%-22s %13.1f%%\n", "share supervised", 100.0 * (double)t->supervised / (double)t->tokens);
    printf("%-22s %14.6g\n", "sum of weights", t->weight_sum);
    printf("%-22s min %d, median %d, 90 %% %d, 99 %% %d, max %d\n", "length", (int)t->shortest, percentile(t, 0.5),
           percentile(t, 0.9), percentile(t, 0.99), (int)t->longest);
    print_histogram(t);
    printf("\n%.2f s, %.2f million tokens/s\n", s, (double)t->tokens * 1e-6 / s);
}

static void on_progress(void *user, const mosa_data_progress *progress) {
    data_bar_draw(&((tally *)user)->bar, progress);
}
static void on_issue(void *user, const mosa_data_issue *issue) {
    data_bar_clear(&((tally *)user)->bar);
    data_print_issue(issue->error);
}

static mosa_status run(mosa_command_call *call, mosa_error *err) {
    const data_values *values = call->values;
    data_setup setup = {0};
    tally t = {0};
    mosa_prepare_report report;
    t.lengths = mosa_arena_alloc_array(call->arena, LENGTHS_MAX, sizeof *t.lengths);
    if (!t.lengths) return mosa_fail(err, MOSA_ENOMEM, "out of memory");
    MOSA_TRY(data_setup_init(&setup, values, &call->arguments, true, call->arena, err));
    uint64_t begin = mosa_clock_ns();
    data_bar_init(&t.bar, "reading");
    setup.options.on_issue = on_issue;
    setup.options.on_progress = on_progress;
    setup.options.user = &t;
    mosa_status status = mosa_data_each(&setup.options, setup.text, setup.pool, count, &t, &report, err);
    data_bar_clear(&t.bar);
    data_setup_finish(&setup);
    if (status != MOSA_OK && report.issues == 0) return status;
    if (values->json)
        print_json(&t, &report);
    else
        print_report(&t, &report, (double)(mosa_clock_ns() - begin) * 1e-9);
    return status;
}

extern const mosa_command mosa_command_data_stats;
const mosa_command mosa_command_data_stats = {
    .name = "data stats",
    .group = MOSA_GROUP_HIDDEN,
    .summary = "Count the records, tokens and supervised tokens of training data",
    .usage = "FILE...",
    .description = "Reads and checks all of the data, lists what would be refused, and draws how long examples are.\n\n"
                   "  mosa data stats chats.jsonl --model model.gguf\n"
                   "  mosa data stats books/ --model model.gguf --text-unit paragraph --json",
    .options = &table,
    .values_bytes = sizeof(data_values),
    .min_arguments = 1,
    .max_arguments = -1,
    .run = run,
};
