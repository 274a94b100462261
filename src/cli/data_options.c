// From flags to the options of train/data, and what the commands draw while they work.
#include "cli/data_options.h"

#include "base/clock.h"
#include "base/file.h"
#include "cli/model_path.h"
#include "codec/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The index of a choice in "a|b|c".
static int choice(const char *value, const char *choices) {
    int index = 0;
    size_t len = strlen(value);
    for (const char *at = choices; *at; index++) {
        size_t word = strcspn(at, "|");
        if (word == len && memcmp(at, value, len) == 0) return index;
        at += word + (at[word] == '|');
    }
    return 0;
}

static mosa_status read_columns(mosa_data_layout *layout, const mosa_string_list *columns, mosa_error *err) {
    for (size_t i = 0; i < columns->count; i++) {
        const char *equals = strchr(columns->items[i], '=');
        if (!equals || !equals[1])
            return mosa_fail(err, MOSA_EINVALID, "--column %s: write NAME=FIELD", columns->items[i]);
        mosa_slice name = {columns->items[i], (size_t)(equals - columns->items[i])};
        MOSA_TRY(mosa_data_layout_column(layout, name, equals + 1, err));
    }
    if (columns->count) layout->ignore_unknown = true; // what is not mapped is not meant
    return MOSA_OK;
}

// The entry of dataset_info.json whose file_name is the data's.
static mosa_status read_info(data_setup *s, const char *path, const char *file, mosa_error *err) {
    const char *key;
    json_t *entry;
    MOSA_TRY(mosa_json_load(path, NULL, &s->info, err));
    json_object_foreach(s->info, key, entry) {
        const char *name = json_string_value(json_object_get(entry, "file_name"));
        if (name && strcmp(mosa_path_base(name), mosa_path_base(file)) == 0)
            return mosa_data_layout_read(entry, &s->options.layout, err);
    }
    return mosa_fail(err, MOSA_ENOTFOUND, "%s: no entry has the file_name %s", path, mosa_path_base(file));
}

static mosa_status read_layout(data_setup *s, const data_values *v, const mosa_string_list *files, mosa_error *err) {
    mosa_data_layout *layout = &s->options.layout;
    if (v->dataset_info) MOSA_TRY(read_info(s, v->dataset_info, files->items[0], err));
    if (v->format && strcmp(v->format, "auto") != 0) (void)mosa_data_format_parse(v->format, &layout->format);
    layout->text_unit = (mosa_text_unit)choice(v->text_unit, "file|line|paragraph");
    layout->ignore_unknown |= v->ignore_unknown;
    return read_columns(layout, &v->columns, err);
}

static mosa_status read_tokenize(data_setup *s, const data_values *v, mosa_error *err) {
    mosa_tokenize_options *o = &s->options.tokenize;
    o->train_on = (mosa_train_on)choice(v->train_on, "assistant|last|all");
    o->overlong = (mosa_overlong)choice(v->overlong, "default|refuse|truncate|drop|split");
    o->eos = (mosa_eos_rule)choice(v->eos, "default|append|none");
    o->max_tokens = v->seq_len ? (int32_t)v->seq_len + 1 : 0;
    o->trusted = v->trusted;
    o->allow_empty_mask = v->empty_mask;
    if (v->kwargs) {
        MOSA_TRY(mosa_json_parse(mosa_slice_of(v->kwargs), NULL, &s->kwargs, err));
        if (!json_is_object(s->kwargs)) return mosa_fail(err, MOSA_EINVALID, "--template-kwargs must be a JSON object");
        o->kwargs = s->kwargs;
    }
    if (!v->model) {
        (void)mosa_fail(err, MOSA_EINVALID, "which tokenizer? Give --model");
        return mosa_hint(err, "--model examples/mosa-tiny.gguf");
    }
    MOSA_AUTO_FREE char *path = NULL;
    MOSA_TRY(mosa_model_path_find(v->model, &path, err));
    return mosa_model_text_open(path, v->chat_template, &s->text, err);
}

mosa_status data_setup_init(data_setup *setup, const data_values *values, const mosa_string_list *files, bool tokenizes,
                            mosa_arena *arena, mosa_error *err) {
    (void)arena;
    setup->options.paths = files->items;
    setup->options.n_paths = files->count;
    setup->options.allow_duplicate_ids = values->duplicate_ids;
    mosa_status status = read_layout(setup, values, files, err);
    if (status == MOSA_OK && tokenizes) status = read_tokenize(setup, values, err);
    if (status == MOSA_OK) status = mosa_pool_create((int)values->threads, &setup->pool, err);
    if (status != MOSA_OK) data_setup_finish(setup);
    return status;
}

void data_setup_finish(data_setup *setup) {
    mosa_pool_destroy(setup->pool);
    mosa_model_text_close(setup->text);
    json_decref(setup->info);
    json_decref(setup->kwargs);
    *setup = (data_setup){0};
}

// --- the terminal ---------------------------------------------------------------------------------------------------

enum { BAR_COLUMNS = 30, BAR_NS = 100 * 1000 * 1000 };

void data_bar_init(data_bar *bar, const char *what) {
    *bar = (data_bar){.what = what, .begin_ns = mosa_clock_ns(), .terminal = isatty(STDERR_FILENO)};
}

void data_bar_draw(data_bar *bar, const mosa_data_progress *progress) {
    uint64_t now = mosa_clock_ns();
    if (!bar->terminal || now - bar->drawn_ns < BAR_NS) return;
    double share = progress->bytes_total ? (double)progress->bytes_done / (double)progress->bytes_total : 0;
    double s = (double)(now - bar->begin_ns) * 1e-9;
    if (share > 1) share = 1;
    int full = (int)(share * BAR_COLUMNS);
    fprintf(stderr, "\r\033[K%s ", bar->what);
    for (int i = 0; i < BAR_COLUMNS; i++) fputs(i < full ? "█" : "░", stderr);
    fprintf(stderr, " %3.0f %%  %.1f MB/s  %llu records", 100 * share, (double)progress->bytes_done * 1e-6 / (s + 1e-9),
            (unsigned long long)progress->records);
    if (share > 0.01) fprintf(stderr, "  %.0f s left", s / share - s);
    bar->drawn_ns = now;
    bar->drawn = true;
}

void data_bar_clear(data_bar *bar) {
    if (bar->drawn) fprintf(stderr, "\r\033[K");
    bar->drawn = false;
}

void data_print_issue(const mosa_error *error) {
    bool colour = isatty(STDERR_FILENO) && !getenv("NO_COLOR");
    fprintf(stderr, "%s%s%s\n", colour ? "\033[31m" : "", error->message, colour ? "\033[0m" : "");
    if (error->hint[0]) fprintf(stderr, "    %s\n", error->hint);
}
