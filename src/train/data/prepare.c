// Every record goes through parse, detect, check, render and tokenize in any thread (train/data/rounds.h); what only
// the order can tell, and what leaves, is for the caller's.
#include "train/data/prepare.h"

#include "base/rng.h"
#include "codec/json.h"
#include "train/data/id_set.h"
#include "train/data/rounds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { ISSUES_DEFAULT = 20, ISSUES_STOP = 1000 };

typedef struct result_state { // of one record
    mosa_data_kind kind;
    uint64_t id_hash; // 0 = no id
    mosa_example_list list;
} result_state;

typedef struct pipeline {
    const mosa_prepare_options *options;
    const mosa_text_trainer *trainer;
    mosa_data_each_fn each;
    void *each_user;
    mosa_prepare_report report;
    mosa_data_progress progress;
    mosa_data_format format;
    bool has_kind;
    mosa_data_kind kind;
    mosa_id_set ids; // value: file, line
    char **files;
    size_t n_files;
    mosa_error first; // fault
} pipeline;

// --- one record, in any thread --------------------------------------------------------------------------------------

static mosa_status mixed(mosa_error *err, mosa_data_format is, mosa_data_format was) {
    (void)mosa_fail(err, MOSA_EINVALID, "this record is in format %s, the data began with %s",
                    mosa_data_format_name(is), mosa_data_format_name(was));
    return mosa_hint(err, "put formats into files of their own, and mix them as data sets");
}

// Errors of reader_parse name path and line already; *placed says so.
static mosa_status run_record(pipeline *p, const mosa_round_item *item, bool *placed, mosa_error *err) {
    const mosa_data_layout *layout = &p->options->layout;
    result_state *state = item->state;
    json_t *object = NULL;
    mosa_data_format format;
    mosa_record record = {0};
    mosa_status status = mosa_reader_parse(item->reader, &item->raw, &object, err);
    *placed = status != MOSA_OK && status != MOSA_ENOMEM;
    if (status != MOSA_OK) return status;
    status = mosa_data_format_detect(object, layout, &format, err);
    if (status == MOSA_OK && format != p->format) status = mixed(err, format, p->format);
    if (status != MOSA_OK) {
        json_decref(object);
        return status;
    }
    MOSA_TRY(mosa_record_parse(object, format, layout, &record, err));
    state->kind = record.kind;
    state->id_hash = record.id.len ? mosa_hash_bytes(record.id.data, record.id.len, 1) | 1 : 0;
    status = mosa_text_trainer_run(p->trainer, &record, &state->list, err);
    mosa_record_finish(&record);
    return status;
}

static void work(void *user, mosa_round_item *item) {
    result_state *state = item->state;
    bool placed = false;
    state->id_hash = 0;
    state->list.count = 0;
    item->status = run_record(user, item, &placed, &item->error);
    if (item->status != MOSA_OK && !placed) mosa_round_place(item, &item->error);
}

// --- in order -------------------------------------------------------------------------------------------------------

static void report_issue(pipeline *p, const char *path, uint64_t line, const mosa_error *error) {
    size_t max = p->options->issues_max ? p->options->issues_max : ISSUES_DEFAULT;
    if (p->report.issues++ == 0) p->first = *error;
    if (p->options->on_issue && p->report.issues <= max)
        p->options->on_issue(p->options->user, &(mosa_data_issue){path, line, error});
}

static mosa_status file_fault(void *user, const mosa_error *fault, mosa_error *err) {
    (void)err;
    report_issue(user, "", 0, fault);
    return MOSA_OK;
}

// The first record of all decides the format.
static mosa_status find_format(void *user, const mosa_round_item *first, mosa_error *err) {
    pipeline *p = user;
    json_t *object = NULL;
    if (p->format != MOSA_FORMAT_AUTO) return MOSA_OK;
    mosa_status status = mosa_reader_parse(first->reader, &first->raw, &object, err);
    if (status != MOSA_OK) return status;
    status = mosa_data_format_detect(object, &p->options->layout, &p->format, err);
    if (status != MOSA_OK) mosa_round_place(first, err);
    json_decref(object);
    return status;
}

// What only the order can tell: mixed kinds, ids that were there before.
static mosa_status check_order(pipeline *p, mosa_round_item *item) {
    const result_state *state = item->state;
    if (item->status != MOSA_OK) return item->status;
    if (!p->has_kind) p->kind = state->kind;
    p->has_kind = true;
    if (state->kind != p->kind) {
        item->status = mosa_fail(&item->error, MOSA_EINVALID, "this record is of kind %s, the data began with %s",
                                 mosa_data_kind_name(state->kind), mosa_data_kind_name(p->kind));
        (void)mosa_hint(&item->error, "put kinds into files of their own");
    } else if (state->id_hash && !p->options->allow_duplicate_ids) {
        bool added;
        uint64_t mask = (1ull << 40) - 1, at = (uint64_t)item->file << 40 | (item->raw.line & mask);
        const mosa_id_entry *seen = mosa_id_set_add(&p->ids, state->id_hash, at, &added);
        if (added) return MOSA_OK;
        item->status = mosa_fail(&item->error, MOSA_EINVALID, "its id was there before, at %s:%llu",
                                 p->files[seen->value >> 40], (unsigned long long)(seen->value & mask));
        (void)mosa_hint(&item->error, "`mosa data dedup` removes copies; --allow-duplicate-ids reads them all");
    }
    if (item->status != MOSA_OK) mosa_round_place(item, &item->error);
    return item->status;
}

static mosa_status take(void *user, mosa_round_item *item, mosa_error *err) {
    pipeline *p = user;
    mosa_example_list *list = &((result_state *)item->state)->list;
    const char *path = mosa_reader_path(item->reader);
    p->report.records++;
    p->progress.records++;
    if (check_order(p, item) != MOSA_OK) {
        if (item->status == MOSA_ENOMEM) return mosa_fail(err, MOSA_ENOMEM, "%s", item->error.message);
        list->count = 0;
        report_issue(p, path, item->raw.line, &item->error);
    } else {
        p->report.dropped += list->dropped;
        p->report.truncated += list->truncated;
        p->report.split += list->split;
    }
    for (size_t k = 0; k < list->count; k++) {
        list->items[k].file = item->file;
        list->items[k].line = item->raw.line;
        p->progress.tokens += (uint64_t)list->items[k].n;
    }
    mosa_data_result result = {path, item->raw, p->kind, list->items, list->count};
    return p->each ? p->each(p->each_user, &result, err) : MOSA_OK;
}

// The words of the first fault, and how many there are.
static mosa_status refuse(const pipeline *p, mosa_error *err) {
    if (!err) return MOSA_EINVALID;
    *err = p->first;
    if (p->report.issues > 1) {
        char more[64];
        (void)snprintf(more, sizeof more, " (%llu%s records are refused)", (unsigned long long)p->report.issues,
                       p->report.issues >= ISSUES_STOP ? " or more" : "");
        size_t len = strlen(err->message), room = sizeof err->message - 1;
        if (len + strlen(more) <= room) memcpy(err->message + len, more, strlen(more) + 1);
    }
    return err->status;
}

static mosa_status show_progress(void *user, uint64_t done, uint64_t total, mosa_error *err) {
    pipeline *p = user;
    p->progress.bytes_done = done;
    p->progress.bytes_total = total;
    if (p->options->on_progress) p->options->on_progress(p->options->user, &p->progress);
    return p->report.issues >= ISSUES_STOP ? refuse(p, err) : MOSA_OK;
}

static void finish_state(void *state) {
    mosa_example_list_finish(&((result_state *)state)->list);
}

static mosa_status run_pipeline(pipeline *p, mosa_pool *pool, mosa_error *err) {
    const mosa_prepare_options *o = p->options;
    mosa_rounds rounds = {.paths = o->paths,
                          .n_paths = o->n_paths,
                          .layout = &o->layout,
                          .pool = pool,
                          .state_bytes = sizeof(result_state),
                          .begin = find_format,
                          .work = work,
                          .take = take,
                          .fault = file_fault,
                          .progress = show_progress,
                          .finish = finish_state,
                          .user = p};
    MOSA_TRY(mosa_data_files_find(o->paths, o->n_paths, &p->files, &p->n_files, err));
    MOSA_TRY(mosa_rounds_run(&rounds, err));
    return p->report.issues ? refuse(p, err) : MOSA_OK;
}

mosa_status mosa_data_each(const mosa_prepare_options *options, const mosa_model_text *text, mosa_pool *pool,
                           mosa_data_each_fn each, void *user, mosa_prepare_report *report, mosa_error *err) {
    mosa_text_trainer *trainer;
    MOSA_TRY(mosa_text_trainer_create(text, &options->tokenize, &trainer, err));
    pipeline p = {
        .options = options, .trainer = trainer, .each = each, .each_user = user, .format = options->layout.format};
    mosa_status status = run_pipeline(&p, pool, err);
    p.report.format = p.format;
    if (report) *report = p.report;
    mosa_data_files_free(p.files, p.n_files);
    mosa_id_set_finish(&p.ids);
    mosa_text_trainer_destroy(trainer);
    return status;
}

// --- stores ---------------------------------------------------------------------------------------------------------

typedef struct storing {
    const mosa_model_text *text;
    const char *path;
    uint64_t key;
    mosa_store_writer *writer; // made with the first example
} storing;

static mosa_status store_result(void *user, const mosa_data_result *result, mosa_error *err) {
    storing *s = user;
    for (size_t i = 0; i < result->n_examples; i++) {
        if (!s->writer) {
            const mosa_tokenizer *tokenizer = mosa_model_text_tokenizer(s->text);
            mosa_store_info info = {.kind = result->kind,
                                    .vocab_size = (int32_t)mosa_tokenizer_size(tokenizer),
                                    .vocab_hash = mosa_data_vocab_hash(tokenizer),
                                    .key = s->key};
            MOSA_TRY(mosa_store_writer_create(s->path, &info, &s->writer, err));
        }
        MOSA_TRY(mosa_store_writer_add(s->writer, &result->examples[i], err));
    }
    return MOSA_OK;
}

mosa_status mosa_data_prepare(const mosa_prepare_options *options, const mosa_model_text *text, mosa_pool *pool,
                              const char *store_path, mosa_prepare_report *report, mosa_error *err) {
    storing s = {.text = text, .path = store_path};
    mosa_prepare_report local;
    if (!report) report = &local;
    MOSA_TRY(mosa_data_key(options, text, &s.key, err));
    mosa_status status = mosa_data_each(options, text, pool, store_result, &s, report, err);
    if (status == MOSA_OK && !s.writer) {
        (void)mosa_fail(err, MOSA_EINVALID, "%s: the data holds no example", options->paths[0]);
        status = mosa_hint(err, "are the files empty, or were all records dropped?");
    }
    if (status == MOSA_OK) status = mosa_store_writer_commit(s.writer, &report->store, err);
    mosa_store_writer_destroy(s.writer);
    return status;
}

mosa_status mosa_data_prepare_cached(const mosa_prepare_options *options, const mosa_model_text *text, mosa_pool *pool,
                                     const char *store_path, mosa_prepare_report *report, mosa_error *err) {
    mosa_store *store = NULL;
    uint64_t key;
    MOSA_TRY(mosa_data_key(options, text, &key, err));
    bool fresh = mosa_store_open(store_path, &store, NULL) == MOSA_OK && mosa_store_get_info(store)->key == key;
    if (fresh && report) *report = (mosa_prepare_report){.store = *mosa_store_get_info(store)};
    mosa_store_close(store);
    return fresh ? MOSA_OK : mosa_data_prepare(options, text, pool, store_path, report, err);
}

// --- keys -----------------------------------------------------------------------------------------------------------

uint64_t mosa_data_vocab_hash(const mosa_tokenizer *tokenizer) {
    uint64_t hash = 1;
    for (size_t i = 0; i < mosa_tokenizer_size(tokenizer); i++) {
        mosa_slice text = mosa_tokenizer_token_text(tokenizer, (mosa_token_id)i);
        hash = mosa_hash_bytes(text.data, text.len, hash + (uint64_t)mosa_tokenizer_token_type(tokenizer, (int32_t)i));
    }
    return hash;
}

static uint64_t mix_text(uint64_t hash, const char *text) {
    return text ? mosa_hash_bytes(text, strlen(text), hash + 1) : mosa_rng_mix(hash);
}

static uint64_t mix_layout(uint64_t hash, const mosa_data_layout *l) {
    const char *const texts[] = {
        l->prompt,   l->query,         l->response,        l->history,      l->system,    l->messages, l->tools,
        l->chosen,   l->rejected,      l->kto_tag,         l->text,         l->id,        l->role_tag, l->content_tag,
        l->user_tag, l->assistant_tag, l->observation_tag, l->function_tag, l->system_tag};
    for (size_t i = 0; i < MOSA_COUNT(texts); i++) hash = mix_text(hash, texts[i]);
    return mosa_rng_mix(hash + (uint64_t)l->format * 64 + (uint64_t)l->text_unit * 2 + l->ignore_unknown);
}

static uint64_t mix_tokenize(uint64_t hash, const mosa_tokenize_options *o) {
    mosa_buf kwargs = {0};
    if (o->kwargs) mosa_json_append(&kwargs, o->kwargs);
    hash = mosa_hash_bytes(mosa_buf_str(&kwargs), kwargs.len, hash);
    mosa_buf_finish(&kwargs);
    uint64_t flags = (uint64_t)o->train_on | (uint64_t)o->eos << 4 | (uint64_t)o->overlong << 8 |
                     (uint64_t)o->trusted << 12 | (uint64_t)o->allow_empty_mask << 13;
    return mosa_rng_mix(mosa_rng_mix(hash + flags) + (uint64_t)(uint32_t)o->max_tokens);
}

mosa_status mosa_data_key(const mosa_prepare_options *options, const mosa_model_text *text, uint64_t *key,
                          mosa_error *err) {
    char **files;
    size_t n;
    MOSA_TRY(mosa_data_files_find(options->paths, options->n_paths, &files, &n, err));
    uint64_t hash = mosa_data_vocab_hash(mosa_model_text_tokenizer(text));
    for (size_t i = 0; i < n; i++) {
        struct stat info = {0};
        if (stat(files[i], &info) != 0) info.st_size = -1;
        hash = mix_text(hash, files[i]);
        hash = mosa_rng_mix(hash + (uint64_t)info.st_size);
        hash = mosa_rng_mix(hash + (uint64_t)info.st_mtim.tv_sec * 1000000000u + (uint64_t)info.st_mtim.tv_nsec);
    }
    mosa_data_files_free(files, n);
    for (int tools = 0; tools < 2; tools++) {
        mosa_slice source = mosa_chat_template_text(mosa_model_text_template(text, tools));
        hash = mosa_hash_bytes(source.data, source.len, hash);
    }
    *key = mix_tokenize(mix_layout(hash, &options->layout), &options->tokenize) + options->allow_duplicate_ids;
    return MOSA_OK;
}
