// Cutting, working and taking in turns. Readers stay open until the rounds that borrow from them are taken.
#include "train/data/rounds.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { ROUND_RECORDS = 1024, ROUND_BYTES = 8 << 20 };

typedef struct run {
    const mosa_rounds *rounds;
    char **files;
    size_t n_files, next_file;
    mosa_reader **readers;  // (n_files) NULL where not open
    mosa_round_item *items; // (ROUND_RECORDS)
    char *states;           // (ROUND_RECORDS) of state_bytes
    size_t n_items;
    atomic_size_t next_item;
    uint64_t done, total; // bytes
    bool begun;
} run;

void mosa_round_place(const mosa_round_item *item, mosa_error *err) {
    char where[MOSA_ERROR_MESSAGE_MAX];
    (void)snprintf(where, sizeof where, "%s:%llu", mosa_reader_path(item->reader), (unsigned long long)item->raw.line);
    (void)mosa_fail_prefix(err, where);
}

static void work(void *arg, int thread, int n_threads) {
    run *r = arg;
    (void)thread;
    (void)n_threads;
    for (size_t i; (i = atomic_fetch_add(&r->next_item, 1)) < r->n_items;) {
        mosa_error_clear(&r->items[i].error);
        r->items[i].status = MOSA_OK;
        r->rounds->work(r->rounds->user, &r->items[i]);
    }
}

// Cuts records until the round is full or the files end. A file whose cutting fails is left.
static mosa_status fill(run *r, mosa_error *err) {
    size_t bytes = 0;
    r->n_items = 0;
    while (r->next_file < r->n_files && r->n_items < ROUND_RECORDS && bytes < ROUND_BYTES) {
        mosa_reader **reader = &r->readers[r->next_file];
        mosa_round_item *item = &r->items[r->n_items];
        mosa_status status = MOSA_OK;
        mosa_error fault = {0};
        bool more = false;
        if (!*reader) status = mosa_reader_open(r->files[r->next_file], r->rounds->layout, reader, &fault);
        if (status == MOSA_OK) status = mosa_reader_next(*reader, &item->raw, &more, &fault);
        if (status == MOSA_ENOMEM || status == MOSA_EIO) {
            if (err) *err = fault;
            return status;
        }
        if (status != MOSA_OK) MOSA_TRY(r->rounds->fault(r->rounds->user, &fault, err));
        if (status != MOSA_OK || !more) {
            r->next_file++;
            continue;
        }
        item->reader = *reader;
        item->file = (uint32_t)r->next_file;
        bytes += item->raw.bytes.len;
        r->n_items++;
    }
    r->done += bytes;
    return MOSA_OK;
}

// Readers that no later round reads from.
static void close_readers(run *r) {
    for (size_t i = r->next_file; i-- > 0 && r->readers[i];) {
        mosa_reader_close(r->readers[i]);
        r->readers[i] = NULL;
    }
}

static mosa_status run_rounds(run *r, mosa_error *err) {
    const mosa_rounds *o = r->rounds;
    while (r->next_file < r->n_files) {
        MOSA_TRY(fill(r, err));
        if (!r->begun && r->n_items && o->begin) MOSA_TRY(o->begin(o->user, &r->items[0], err));
        r->begun |= r->n_items > 0;
        atomic_store(&r->next_item, 0);
        if (r->n_items) mosa_pool_run(o->pool, work, r);
        for (size_t i = 0; i < r->n_items; i++) MOSA_TRY(o->take(o->user, &r->items[i], err));
        close_readers(r);
        if (o->progress) MOSA_TRY(o->progress(o->user, r->done, r->total, err));
    }
    return MOSA_OK;
}

static mosa_status set_up(run *r, mosa_error *err) {
    MOSA_TRY(mosa_data_files_find(r->rounds->paths, r->rounds->n_paths, &r->files, &r->n_files, err));
    r->readers = calloc(r->n_files + 1, sizeof *r->readers);
    r->items = calloc(ROUND_RECORDS, sizeof *r->items);
    r->states = calloc(ROUND_RECORDS, r->rounds->state_bytes + 1);
    if (!r->readers || !r->items || !r->states) return mosa_fail(err, MOSA_ENOMEM, "out of memory for reading data");
    for (size_t i = 0; i < ROUND_RECORDS; i++) r->items[i].state = r->states + i * r->rounds->state_bytes;
    for (size_t i = 0; i < r->n_files; i++) {
        struct stat info;
        if (stat(r->files[i], &info) == 0) r->total += (uint64_t)info.st_size;
    }
    return MOSA_OK;
}

mosa_status mosa_rounds_run(const mosa_rounds *rounds, mosa_error *err) {
    run r = {.rounds = rounds};
    mosa_status status = set_up(&r, err);
    if (status == MOSA_OK) status = run_rounds(&r, err);
    bool whole = r.readers && r.items && r.states; // else no item has a state yet
    for (size_t i = 0; rounds->finish && whole && i < ROUND_RECORDS; i++) rounds->finish(r.items[i].state);
    for (size_t i = 0; r.readers && i < r.n_files; i++) mosa_reader_close(r.readers[i]);
    mosa_data_files_free(r.files, r.n_files);
    free(r.readers);
    free(r.items);
    free(r.states);
    return status;
}
