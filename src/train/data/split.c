// One pass; a hash as a fraction of one falls into a part's interval.
#include "train/data/split.h"

#include "base/out_file.h"
#include "base/rng.h"
#include "train/data/content.h"
#include "train/data/rounds.h"

#include <string.h>

typedef struct piece { // of one record
    mosa_buf text;
    size_t part;
} piece;

typedef struct splitter {
    const mosa_split_options *options;
    mosa_out_file *files[MOSA_SPLIT_MAX];
    uint64_t *counts;
} splitter;

static size_t choose(const mosa_split_options *o, uint64_t hash) {
    double at = (double)(mosa_rng_mix(hash) >> 11) * 0x1p-53;
    for (size_t i = 0; i + 1 < o->n_parts; i++) {
        if (at < o->shares[i]) return i;
        at -= o->shares[i];
    }
    return o->n_parts - 1;
}

static void work(void *user, mosa_round_item *item) {
    const mosa_split_options *o = ((splitter *)user)->options;
    piece *p = item->state;
    mosa_buf_clear(&p->text);
    item->status = mosa_content_append(item->reader, &item->raw, &p->text, &item->error);
    if (item->status != MOSA_OK) return;
    p->part = choose(o, mosa_hash_bytes(mosa_buf_str(&p->text), p->text.len, mosa_rng_mix(o->seed)));
    mosa_buf_clear(&p->text);
    item->status = mosa_content_rewrite(item->reader, &item->raw, o->layout.text_unit, &p->text, &item->error);
}

static mosa_status stop_at_fault(void *user, const mosa_error *fault, mosa_error *err) {
    (void)user;
    if (err) *err = *fault;
    return fault->status;
}

static mosa_status take(void *user, mosa_round_item *item, mosa_error *err) {
    splitter *s = user;
    const piece *p = item->state;
    if (item->status != MOSA_OK) return stop_at_fault(user, &item->error, err);
    s->counts[p->part]++;
    return mosa_out_file_write(s->files[p->part], mosa_buf_str(&p->text), p->text.len, err);
}

static mosa_status show_progress(void *user, uint64_t done, uint64_t total, mosa_error *err) {
    const mosa_split_options *o = ((splitter *)user)->options;
    (void)err;
    if (o->on_progress) o->on_progress(o->user, done, total);
    return MOSA_OK;
}

static void finish_piece(void *state) {
    mosa_buf_finish(&((piece *)state)->text);
}

static mosa_status run(splitter *s, mosa_pool *pool, mosa_error *err) {
    const mosa_split_options *o = s->options;
    mosa_rounds rounds = {.paths = o->paths,
                          .n_paths = o->n_paths,
                          .layout = &o->layout,
                          .pool = pool,
                          .state_bytes = sizeof(piece),
                          .work = work,
                          .take = take,
                          .fault = stop_at_fault,
                          .progress = show_progress,
                          .finish = finish_piece,
                          .user = s};
    for (size_t i = 0; i < o->n_parts; i++) MOSA_TRY(mosa_out_file_create(o->out_paths[i], &s->files[i], err));
    MOSA_TRY(mosa_rounds_run(&rounds, err));
    for (size_t i = 0; i < o->n_parts; i++) MOSA_TRY(mosa_out_file_commit(s->files[i], err));
    return MOSA_OK;
}

mosa_status mosa_data_split(const mosa_split_options *options, mosa_pool *pool, uint64_t *counts, mosa_error *err) {
    splitter s = {.options = options, .counts = counts};
    if (options->n_parts < 2 || options->n_parts > MOSA_SPLIT_MAX)
        return mosa_fail(err, MOSA_EINVALID, "%zu parts; 2 to %d are possible", options->n_parts, MOSA_SPLIT_MAX);
    memset(counts, 0, options->n_parts * sizeof *counts);
    mosa_status status = run(&s, pool, err);
    for (size_t i = 0; i < options->n_parts; i++) mosa_out_file_destroy(s.files[i]);
    return status;
}
