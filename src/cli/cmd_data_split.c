// mosa data split: one data set into several, copies together.
#include "base/file.h"
#include "cli/data_options.h"
#include "train/data/content.h"
#include "train/data/split.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const mosa_option options[] = {
    {NULL, "--test", MOSA_OPTION_FLOAT, "0.1", .aliases = "--val --val-size --test-size", .min = 0.000001, .max = 0.999,
     .help = "Share of the records that go to the held-out file.", DATA_FIELD(test_share)},
    {NULL, "--parts", MOSA_OPTION_INT, "0", .min = 0, .max = MOSA_SPLIT_MAX,
     .help = "Make so many equal parts instead.", DATA_FIELD(parts)},
    {NULL, "--out", MOSA_OPTION_STRING, .aliases = "-o", .value = "PREFIX",
     .help = "Files are PREFIX-train and PREFIX-test, or PREFIX-1-of-4. Default: the first file's name.",
     DATA_FIELD(out)},
    {NULL, "--seed", MOSA_OPTION_INT, "0", .min = 0, .max = 9007199254740992.0,
     .help = "Another seed, another choice of records.", DATA_FIELD(seed)},
    {NULL, "--json", MOSA_OPTION_BOOL, .help = "Print one JSON object.", DATA_FIELD(json)},
    DATA_ROWS_READ,
};
static const mosa_option_table table = {.options = options, .n_options = MOSA_COUNT(options)};

// The name without its ending, and the ending that the parts get.
static mosa_status find_names(const data_values *v, const data_setup *setup, mosa_arena *arena, const char **prefix,
                              const char **suffix, mosa_error *err) {
    char **files;
    size_t n;
    mosa_reader *reader;
    MOSA_TRY(mosa_data_files_find(setup->options.paths, setup->options.n_paths, &files, &n, err));
    mosa_status status = mosa_reader_open(files[0], &setup->options.layout, &reader, err);
    if (status == MOSA_OK) {
        *suffix = mosa_content_suffix(reader, setup->options.layout.text_unit);
        const char *name = mosa_path_base(files[0]), *dot = strrchr(name, '.');
        *prefix =
            v->out ? v->out : mosa_arena_strndup(arena, name, dot && dot > name ? (size_t)(dot - name) : strlen(name));
        mosa_reader_close(reader);
        if (!*prefix) status = mosa_fail(err, MOSA_ENOMEM, "out of memory");
    }
    mosa_data_files_free(files, n);
    return status;
}

static void on_progress(void *user, uint64_t done, uint64_t total) {
    data_bar_draw(user, &(mosa_data_progress){.bytes_done = done, .bytes_total = total});
}

static mosa_status split(const data_values *v, const data_setup *setup, mosa_arena *arena, mosa_error *err) {
    const char *prefix = NULL, *suffix = NULL, *paths[MOSA_SPLIT_MAX];
    double shares[MOSA_SPLIT_MAX];
    uint64_t counts[MOSA_SPLIT_MAX];
    size_t n = v->parts ? (size_t)v->parts : 2;
    data_bar bar;
    MOSA_TRY(find_names(v, setup, arena, &prefix, &suffix, err));
    for (size_t i = 0; i < n; i++) {
        shares[i] = v->parts ? 1.0 / (double)n : i ? v->test_share : 1 - v->test_share;
        paths[i] = v->parts ? mosa_arena_printf(arena, "%s-%zu-of-%zu%s", prefix, i + 1, n, suffix)
                            : mosa_arena_printf(arena, "%s-%s%s", prefix, i ? "test" : "train", suffix);
        if (!paths[i]) return mosa_fail(err, MOSA_ENOMEM, "out of memory");
    }
    data_bar_init(&bar, "splitting");
    mosa_split_options o = {.paths = setup->options.paths,
                            .n_paths = setup->options.n_paths,
                            .layout = setup->options.layout,
                            .out_paths = paths,
                            .shares = shares,
                            .n_parts = n,
                            .seed = (uint64_t)v->seed,
                            .on_progress = on_progress,
                            .user = &bar};
    mosa_status status = mosa_data_split(&o, setup->pool, counts, err);
    data_bar_clear(&bar);
    for (size_t i = 0; i < n && status == MOSA_OK; i++) {
        if (v->json)
            printf("%s\"%s\":%llu%s", i ? "," : "{", paths[i], (unsigned long long)counts[i], i + 1 < n ? "" : "}\n");
        else
            printf("%s: %llu records\n", paths[i], (unsigned long long)counts[i]);
    }
    return status;
}

static mosa_status run(mosa_command_call *call, mosa_error *err) {
    const data_values *values = call->values;
    data_setup setup = {0};
    if (values->parts == 1) return mosa_fail(err, MOSA_EINVALID, "--parts 1 splits nothing");
    MOSA_TRY(data_setup_init(&setup, values, &call->arguments, false, call->arena, err));
    mosa_status status = split(values, &setup, call->arena, err);
    data_setup_finish(&setup);
    return status;
}

extern const mosa_command mosa_command_data_split;
const mosa_command mosa_command_data_split = {
    .name = "data split",
    .group = MOSA_GROUP_HIDDEN,
    .summary = "Split training data into a part to train on and one to test with",
    .usage = "FILE...",
    .description =
        "A record's content and the seed decide where it goes: copies stay together, so that nothing that is "
        "trained on is tested with, and a record stays where it is when others are added.\n\n"
        "  mosa data split chats.jsonl --test 0.05\n"
        "  mosa data split web.txt --text-unit line --parts 8 --out shards/web",
    .options = &table,
    .values_bytes = sizeof(data_values),
    .min_arguments = 1,
    .max_arguments = -1,
    .run = run,
};
