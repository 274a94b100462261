// Reading in rounds: one thread cuts a round of records, all threads parse and tokenize them, one thread takes the
// results in order. So memory is bounded by a round, and the order of everything that leaves is that of the files.
#include "train/data/prepare.h"

#include "base/rng.h"
#include "codec/json.h"
#include "train/data/id_set.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { ROUND_RECORDS = 1024, ROUND_BYTES = 8 << 20, ISSUES_DEFAULT = 20, ISSUES_STOP = 1000 };

typedef struct slot {
    const mosa_reader *reader;
    uint32_t file;
    mosa_raw_record raw;
    mosa_status status;
    mosa_error error;
    mosa_data_kind kind;
    uint64_t id_hash; // 0 = no id
    mosa_example_list list;
} slot;

typedef struct pipeline {
    const mosa_prepare_options *options;
    const mosa_text_trainer *trainer;
    mosa_pool *pool;
    mosa_data_each_fn each;
    void *each_user;
    mosa_prepare_report report;
    mosa_data_progress progress;
    mosa_data_format format;
    bool has_kind;
    mosa_data_kind kind;
    char **files;
    size_t n_files, next_file;
    mosa_reader **readers; // (n_files) NULL where not open
    slot *slots;           // (ROUND_RECORDS)
    size_t n_slots;
    atomic_size_t next_slot;
    mosa_id_set ids;
    mosa_error first; // fault
} pipeline;

// --- one record, in any thread --------------------------------------------------------------------------------------

static mosa_status mixed(mosa_error *err, mosa_data_format is, mosa_data_format was) {
    (void)mosa_fail(err, MOSA_EINVALID, "this record is in format %s, the data began with %s",
                    mosa_data_format_name(is), mosa_data_format_name(was));
    return mosa_hint(err, "put formats into files of their own, and mix them as data sets");
}

// Errors of reader_parse name path and line already; *placed says so.
static mosa_status run_record(pipeline *p, slot *s, bool *placed, mosa_error *err) {
    const mosa_data_layout *layout = &p->options->layout;
    json_t *object = NULL;
    mosa_data_format format;
    mosa_record record = {0};
    mosa_status status = mosa_reader_parse(s->reader, &s->raw, &object, err);
    *placed = status != MOSA_OK && status != MOSA_ENOMEM;
    if (status != MOSA_OK) return status;
    mosa_data_layout own = *layout;
    own.format = MOSA_FORMAT_AUTO;
    status = mosa_data_format_detect(object, layout->format ? layout : &own, &format, err);
    if (status == MOSA_OK && format != p->format) status = mixed(err, format, p->format);
    if (status != MOSA_OK) {
        json_decref(object);
        return status;
    }
    MOSA_TRY(mosa_record_parse(object, format, layout, &record, err));
    s->kind = record.kind;
    s->id_hash = record.id.len ? mosa_hash_bytes(record.id.data, record.id.len, 1) | 1 : 0;
    status = mosa_text_trainer_run(p->trainer, &record, &s->list, err);
    mosa_record_finish(&record);
    return status;
}

static void place(mosa_error *err, const char *path, uint64_t line) {
    char where[MOSA_ERROR_MESSAGE_MAX];
    (void)snprintf(where, sizeof where, "%s:%llu", path, (unsigned long long)line);
    (void)mosa_fail_prefix(err, where);
}

static void work(void *arg, int thread, int n_threads) {
    pipeline *p = arg;
    (void)thread;
    (void)n_threads;
    for (size_t i; (i = atomic_fetch_add(&p->next_slot, 1)) < p->n_slots;) {
        slot *s = &p->slots[i];
        bool placed = false;
        mosa_error_clear(&s->error);
        s->id_hash = 0;
        s->list.count = 0;
        s->status = run_record(p, s, &placed, &s->error);
        if (s->status != MOSA_OK && !placed) place(&s->error, mosa_reader_path(s->reader), s->raw.line);
    }
}

// --- rounds ---------------------------------------------------------------------------------------------------------

static void report_issue(pipeline *p, const char *path, uint64_t line, const mosa_error *error) {
    size_t max = p->options->issues_max ? p->options->issues_max : ISSUES_DEFAULT;
    if (p->report.issues++ == 0) p->first = *error;
    if (p->options->on_issue && p->report.issues <= max)
        p->options->on_issue(p->options->user, &(mosa_data_issue){path, line, error});
}

// Cuts records until the round is full or the files end. A file whose cutting fails is left.
static mosa_status fill_round(pipeline *p, mosa_error *err) {
    size_t bytes = 0;
    p->n_slots = 0;
    while (p->next_file < p->n_files && p->n_slots < ROUND_RECORDS && bytes < ROUND_BYTES) {
        mosa_reader **reader = &p->readers[p->next_file];
        mosa_status status = MOSA_OK;
        mosa_error fault = {0};
        bool more = false;
        if (!*reader) status = mosa_reader_open(p->files[p->next_file], &p->options->layout, reader, &fault);
        slot *s = &p->slots[p->n_slots];
        if (status == MOSA_OK) status = mosa_reader_next(*reader, &s->raw, &more, &fault);
        if (status == MOSA_ENOMEM || status == MOSA_EIO) {
            if (err) *err = fault;
            return status;
        }
        if (status != MOSA_OK) report_issue(p, p->files[p->next_file], 0, &fault);
        if (!more) {
            p->next_file++;
            continue;
        }
        s->reader = *reader;
        s->file = (uint32_t)p->next_file;
        bytes += s->raw.bytes.len;
        p->n_slots++;
    }
    return MOSA_OK;
}

// Readers that no later round reads from.
static void close_readers(pipeline *p, size_t end) {
    for (size_t i = end; i-- > 0 && p->readers[i];) {
        mosa_reader_close(p->readers[i]);
        p->readers[i] = NULL;
    }
}

// The first record of all decides the format.
static mosa_status find_format(pipeline *p, mosa_error *err) {
    json_t *object = NULL;
    const slot *s = &p->slots[0];
    if (p->options->layout.format) {
        p->format = p->options->layout.format;
        return MOSA_OK;
    }
    if (p->n_slots == 0) return MOSA_OK;
    mosa_status status = mosa_reader_parse(s->reader, &s->raw, &object, err);
    if (status != MOSA_OK) return status;
    status = mosa_data_format_detect(object, &p->options->layout, &p->format, err);
    if (status != MOSA_OK) place(err, mosa_reader_path(s->reader), s->raw.line);
    json_decref(object);
    return status;
}

// What only the order can tell: mixed kinds, ids that were there before.
static mosa_status check_slot(pipeline *p, slot *s) {
    if (s->status != MOSA_OK) return s->status;
    if (!p->has_kind) p->kind = s->kind;
    p->has_kind = true;
    if (s->kind != p->kind) {
        s->status = mosa_fail(&s->error, MOSA_EINVALID, "this record is of kind %s, the data began with %s",
                              mosa_data_kind_name(s->kind), mosa_data_kind_name(p->kind));
        (void)mosa_hint(&s->error, "put kinds into files of their own");
    } else if (s->id_hash && !p->options->allow_duplicate_ids) {
        bool added;
        uint64_t at = (uint64_t)s->file << 40 | (s->raw.line & ((1ull << 40) - 1));
        const mosa_id_entry *seen = mosa_id_set_add(&p->ids, s->id_hash, at, &added);
        if (added) return MOSA_OK;
        s->status = mosa_fail(&s->error, MOSA_EINVALID, "its id was there before, at %s:%llu",
                              p->files[seen->value >> 40], (unsigned long long)(seen->value & ((1ull << 40) - 1)));
        (void)mosa_hint(&s->error, "`mosa data dedup` removes copies; --allow-duplicate-ids reads them all");
    }
    if (s->status != MOSA_OK) place(&s->error, mosa_reader_path(s->reader), s->raw.line);
    return s->status;
}

static mosa_status take_round(pipeline *p, mosa_error *err) {
    for (size_t i = 0; i < p->n_slots; i++) {
        slot *s = &p->slots[i];
        const char *path = mosa_reader_path(s->reader);
        p->report.records++;
        p->progress.records++;
        p->progress.bytes_done += s->raw.bytes.len;
        if (check_slot(p, s) != MOSA_OK) {
            if (s->status == MOSA_ENOMEM) return mosa_fail(err, MOSA_ENOMEM, "%s", s->error.message);
            s->list.count = 0;
            report_issue(p, path, s->raw.line, &s->error);
        } else {
            p->report.dropped += s->list.dropped;
            p->report.truncated += s->list.truncated;
            p->report.split += s->list.split;
        }
        for (size_t k = 0; k < s->list.count; k++) {
            s->list.items[k].file = s->file;
            s->list.items[k].line = s->raw.line;
            p->progress.tokens += (uint64_t)s->list.items[k].n;
        }
        mosa_data_result result = {path, s->raw, s->kind, s->list.items, s->list.count};
        if (p->each) MOSA_TRY(p->each(p->each_user, &result, err));
    }
    return MOSA_OK;
}

static mosa_status run_rounds(pipeline *p, mosa_error *err) {
    while (p->next_file < p->n_files && p->report.issues < ISSUES_STOP) {
        MOSA_TRY(fill_round(p, err));
        if (p->format == MOSA_FORMAT_AUTO) MOSA_TRY(find_format(p, err));
        atomic_store(&p->next_slot, 0);
        mosa_pool_run(p->pool, work, p);
        MOSA_TRY(take_round(p, err));
        close_readers(p, p->next_file);
        if (p->options->on_progress) p->options->on_progress(p->options->user, &p->progress);
    }
    p->report.format = p->format;
    if (p->report.issues == 0) return MOSA_OK;
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

static mosa_status run_pipeline(pipeline *p, mosa_error *err) {
    MOSA_TRY(mosa_data_files_find(p->options->paths, p->options->n_paths, &p->files, &p->n_files, err));
    p->readers = calloc(p->n_files + 1, sizeof *p->readers);
    p->slots = calloc(ROUND_RECORDS, sizeof *p->slots);
    if (!p->readers || !p->slots) return mosa_fail(err, MOSA_ENOMEM, "out of memory for reading data");
    for (size_t i = 0; i < p->n_files; i++) {
        struct stat info;
        if (stat(p->files[i], &info) == 0) p->progress.bytes_total += (uint64_t)info.st_size;
    }
    return run_rounds(p, err);
}

static void finish_pipeline(pipeline *p) {
    for (size_t i = 0; p->readers && i < p->n_files; i++) mosa_reader_close(p->readers[i]);
    for (size_t i = 0; p->slots && i < ROUND_RECORDS; i++) mosa_example_list_finish(&p->slots[i].list);
    mosa_data_files_free(p->files, p->n_files);
    free(p->readers);
    free(p->slots);
    mosa_id_set_finish(&p->ids);
}

mosa_status mosa_data_each(const mosa_prepare_options *options, const mosa_model_text *text, mosa_pool *pool,
                           mosa_data_each_fn each, void *user, mosa_prepare_report *report, mosa_error *err) {
    mosa_text_trainer *trainer;
    MOSA_TRY(mosa_text_trainer_create(text, &options->tokenize, &trainer, err));
    pipeline p = {.options = options, .trainer = trainer, .pool = pool, .each = each, .each_user = user};
    mosa_status status = run_pipeline(&p, err);
    if (report) *report = p.report;
    finish_pipeline(&p);
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
