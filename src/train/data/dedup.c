// Three steps: measure (parallel), search (the temporary files, by parts of the hashes that fit the memory), write.
#include "train/data/dedup.h"

#include "base/out_file.h"
#include "base/rng.h"
#include "train/data/content.h"
#include "train/data/id_set.h"
#include "train/data/minhash.h"
#include "train/data/rounds.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

// An entry of mosa_id_set just after it has grown, with its old table beside it.
enum { ENTRY_BYTES = 64, CHAIN_MAX = 16, NO_RECORD = UINT32_MAX };

typedef struct measure { // of one record
    mosa_buf text;
    uint64_t hash;
    uint32_t sig[MOSA_MINHASH_MAX];
} measure;

typedef struct dedup {
    const mosa_dedup_options *options;
    mosa_dedup_report report;
    const char *what;
    FILE *hashes, *sigs;      // temporary
    const uint64_t *hash_of;  // (records) maps of them
    const uint32_t *sig_of;   // (records, permutations)
    uint64_t *removed;        // (records) bits
    uint32_t *parent, *below; // (records) near: towards the first of a record's copies; the one before in a bucket
    mosa_out_file *out;
    mosa_buf buf;
    uint64_t next; // record that is written
} dedup;

// --- measuring ------------------------------------------------------------------------------------------------------

static void measure_record(void *user, mosa_round_item *item) {
    const mosa_dedup_options *o = ((dedup *)user)->options;
    measure *m = item->state;
    mosa_buf_clear(&m->text);
    item->status = mosa_content_append(item->reader, &item->raw, &m->text, &item->error);
    if (item->status != MOSA_OK) return;
    m->hash = mosa_hash_bytes(mosa_buf_str(&m->text), m->text.len, o->seed);
    if (o->near) mosa_minhash(mosa_buf_slice(&m->text), o->words, o->seed, m->sig, o->permutations);
}

static mosa_status keep_measure(void *user, mosa_round_item *item, mosa_error *err) {
    dedup *d = user;
    const measure *m = item->state;
    if (item->status != MOSA_OK) {
        if (err) *err = item->error;
        return item->status;
    }
    size_t n = (size_t)d->options->permutations;
    bool ok = fwrite(&m->hash, sizeof m->hash, 1, d->hashes) == 1;
    if (d->options->near) ok = ok && fwrite(m->sig, sizeof *m->sig, n, d->sigs) == n;
    if (!ok) return mosa_fail_errno(err, errno, "cannot write a temporary file");
    if (++d->report.records < NO_RECORD) return MOSA_OK;
    return mosa_fail(err, MOSA_ELIMIT, "more than %u records", NO_RECORD - 1);
}

static mosa_status stop_at_fault(void *user, const mosa_error *fault, mosa_error *err) {
    (void)user;
    if (err) *err = *fault;
    return fault->status;
}

static mosa_status show_progress(void *user, uint64_t done, uint64_t total, mosa_error *err) {
    const dedup *d = user;
    (void)err;
    if (d->options->on_progress) d->options->on_progress(d->options->user, d->what, done, total);
    return MOSA_OK;
}

static void finish_measure(void *state) {
    mosa_buf_finish(&((measure *)state)->text);
}

static mosa_rounds make_rounds(dedup *d, mosa_pool *pool) {
    return (mosa_rounds){.paths = d->options->paths,
                         .n_paths = d->options->n_paths,
                         .layout = &d->options->layout,
                         .pool = pool,
                         .state_bytes = sizeof(measure),
                         .fault = stop_at_fault,
                         .progress = show_progress,
                         .finish = finish_measure,
                         .user = d};
}

static mosa_status map_file(FILE *file, size_t bytes, const void **out, mosa_error *err) {
    if (fflush(file) != 0) return mosa_fail_errno(err, errno, "cannot write a temporary file");
    void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fileno(file), 0);
    if (map == MAP_FAILED) return mosa_fail_errno(err, errno, "cannot map a temporary file");
    *out = map;
    return MOSA_OK;
}

static mosa_status measure_all(dedup *d, mosa_pool *pool, mosa_error *err) {
    mosa_rounds rounds = make_rounds(d, pool);
    rounds.work = measure_record;
    rounds.take = keep_measure;
    d->what = "reading";
    d->hashes = tmpfile();
    d->sigs = d->options->near ? tmpfile() : NULL;
    if (!d->hashes || (d->options->near && !d->sigs))
        return mosa_fail_errno(err, errno, "cannot make a temporary file");
    MOSA_TRY(mosa_rounds_run(&rounds, err));
    size_t n = (size_t)d->report.records;
    if (n == 0) return mosa_fail(err, MOSA_EINVALID, "%s: there is no record", d->options->paths[0]);
    const void *map;
    MOSA_TRY(map_file(d->hashes, n * sizeof *d->hash_of, &map, err));
    d->hash_of = map;
    d->removed = calloc(n / 64 + 1, sizeof *d->removed);
    if (!d->removed) return mosa_fail(err, MOSA_ENOMEM, "out of memory for %zu records", n);
    if (!d->options->near) return MOSA_OK;
    MOSA_TRY(map_file(d->sigs, n * (size_t)d->options->permutations * sizeof *d->sig_of, &map, err));
    d->sig_of = map;
    d->parent = malloc(n * sizeof *d->parent);
    d->below = malloc(n * sizeof *d->below);
    if (!d->parent || !d->below) return mosa_fail(err, MOSA_ENOMEM, "out of memory for %zu records", n);
    for (size_t i = 0; i < n; i++) d->parent[i] = (uint32_t)i;
    return MOSA_OK;
}

// --- searching ------------------------------------------------------------------------------------------------------

static bool is_removed(const dedup *d, uint64_t i) {
    return d->removed[i / 64] >> i % 64 & 1;
}

// Passes over the hashes, so that each pass's table fits the memory.
static uint64_t count_parts(const dedup *d) {
    uint64_t entries = d->options->memory_bytes / ENTRY_BYTES;
    if (entries < 1024) entries = 1024;
    return (d->report.records + entries - 1) / entries;
}

static mosa_status find_exact(dedup *d, mosa_error *err) {
    uint64_t parts = count_parts(d);
    for (uint64_t part = 0; part < parts; part++) {
        mosa_id_set set = {0};
        for (uint64_t i = 0; i < d->report.records; i++) {
            bool added;
            if (mosa_rng_mix(d->hash_of[i]) % parts != part) continue;
            mosa_id_set_add(&set, d->hash_of[i], i, &added);
            if (added) continue;
            d->removed[i / 64] |= 1ull << i % 64;
            d->report.exact++;
        }
        bool failed = set.failed;
        mosa_id_set_finish(&set);
        if (failed) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the records' hashes");
    }
    return MOSA_OK;
}

static uint32_t find_first(dedup *d, uint32_t i) {
    while (d->parent[i] != i) {
        d->parent[i] = d->parent[d->parent[i]];
        i = d->parent[i];
    }
    return i;
}

// Joins record i with those before it in its bucket that are alike; the nearest few are looked at.
static void join_bucket(dedup *d, uint32_t i, uint32_t other) {
    size_t n = (size_t)d->options->permutations;
    for (int hops = 0; other != NO_RECORD && hops < CHAIN_MAX; hops++, other = d->below[other]) {
        uint32_t a = find_first(d, i), b = find_first(d, other);
        if (a == b) return;
        double alike = mosa_minhash_similarity(d->sig_of + i * n, d->sig_of + other * n, (int)n);
        if (alike < d->options->threshold) continue;
        d->parent[a > b ? a : b] = a > b ? b : a;
        return;
    }
}

static mosa_status search_band(dedup *d, int band, uint64_t part, uint64_t parts, mosa_error *err) {
    mosa_id_set set = {0};
    size_t n = (size_t)d->options->permutations, rows = (size_t)d->report.rows;
    for (uint64_t i = 0; i < d->report.records; i++) {
        bool added;
        if (is_removed(d, i)) continue;
        uint64_t key =
            mosa_hash_bytes(d->sig_of + i * n + (size_t)band * rows, rows * sizeof *d->sig_of, (uint64_t)band);
        if (mosa_rng_mix(key) % parts != part) continue;
        mosa_id_entry *entry = mosa_id_set_add(&set, key, i, &added);
        d->below[i] = NO_RECORD;
        if (!entry || added) continue;
        d->below[i] = (uint32_t)entry->value;
        join_bucket(d, (uint32_t)i, (uint32_t)entry->value);
        entry->value = i;
    }
    bool failed = set.failed;
    mosa_id_set_finish(&set);
    return failed ? mosa_fail(err, MOSA_ENOMEM, "out of memory for the records' hashes") : MOSA_OK;
}

static mosa_status find_near(dedup *d, mosa_error *err) {
    uint64_t parts = count_parts(d);
    mosa_minhash_bands(d->options->threshold, d->options->permutations, &d->report.bands, &d->report.rows);
    d->what = "comparing";
    for (int band = 0; band < d->report.bands; band++) {
        for (uint64_t part = 0; part < parts; part++, d->report.passes++)
            MOSA_TRY(search_band(d, band, part, parts, err));
        MOSA_TRY(show_progress(d, (uint64_t)band + 1, (uint64_t)d->report.bands, err));
    }
    for (uint32_t i = 0; i < d->report.records; i++) {
        if (is_removed(d, i) || find_first(d, i) == i) continue;
        d->removed[i / 64] |= 1ull << i % 64;
        d->report.near++;
    }
    return MOSA_OK;
}

// --- writing --------------------------------------------------------------------------------------------------------

static void rewrite(void *user, mosa_round_item *item) {
    const dedup *d = user;
    measure *m = item->state;
    mosa_buf_clear(&m->text);
    item->status = mosa_content_rewrite(item->reader, &item->raw, d->options->layout.text_unit, &m->text, &item->error);
}

static mosa_status keep_record(void *user, mosa_round_item *item, mosa_error *err) {
    dedup *d = user;
    const measure *m = item->state;
    if (item->status != MOSA_OK) return stop_at_fault(user, &item->error, err);
    if (d->next >= d->report.records) return mosa_fail(err, MOSA_EIO, "the data has changed while it was read");
    if (is_removed(d, d->next++)) return MOSA_OK;
    d->report.kept++;
    return mosa_out_file_write(d->out, mosa_buf_str(&m->text), m->text.len, err);
}

static mosa_status write_kept(dedup *d, mosa_pool *pool, const char *out_path, mosa_error *err) {
    mosa_rounds rounds = make_rounds(d, pool);
    rounds.work = rewrite;
    rounds.take = keep_record;
    d->what = "writing";
    MOSA_TRY(mosa_out_file_create(out_path, &d->out, err));
    MOSA_TRY(mosa_rounds_run(&rounds, err));
    return mosa_out_file_commit(d->out, err);
}

static void finish(dedup *d) {
    size_t n = (size_t)d->report.records;
    if (d->hash_of) munmap((void *)d->hash_of, n * sizeof *d->hash_of);
    if (d->sig_of) munmap((void *)d->sig_of, n * (size_t)d->options->permutations * sizeof *d->sig_of);
    if (d->hashes) fclose(d->hashes);
    if (d->sigs) fclose(d->sigs);
    mosa_out_file_destroy(d->out);
    mosa_buf_finish(&d->buf);
    free(d->removed);
    free(d->parent);
    free(d->below);
}

mosa_status mosa_data_dedup(const mosa_dedup_options *options, mosa_pool *pool, const char *out_path,
                            mosa_dedup_report *report, mosa_error *err) {
    dedup d = {.options = options};
    bool good = options->permutations >= 16 && options->permutations <= MOSA_MINHASH_MAX &&
                options->permutations % 16 == 0 && options->threshold > 0 && options->threshold <= 1;
    if (options->near && !good)
        return mosa_fail(err, MOSA_EINVALID,
                         "near copies: a threshold above 0, at most 1, and permutations in sixteens up to %d",
                         MOSA_MINHASH_MAX);
    mosa_status status = measure_all(&d, pool, err);
    if (status == MOSA_OK) status = find_exact(&d, err);
    if (status == MOSA_OK && options->near) status = find_near(&d, err);
    if (status == MOSA_OK) status = write_kept(&d, pool, out_path, err);
    if (status == MOSA_OK && report) *report = d.report;
    finish(&d);
    return status;
}
