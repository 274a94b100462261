// Batches from stores. A window of units is chosen by the permutation, packed by lengths, and its bins leave in an
// order of their own; only the window that is being read is in memory. Everything follows from the position.
#include "train/data/loader.h"

#include "base/rng.h"
#include "train/data/pack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_MAX = 1 << 26 };

typedef struct unit {
    uint32_t set;
    uint32_t bin;
    uint64_t first; // example
} unit;

typedef struct window {
    uint64_t epoch, index;
    bool valid;
    size_t n_units, n_bins;
    unit *units;      // (options.window) in order of the permutation
    int32_t *lengths; // (options.window) rows
    uint32_t *bins;   // (options.window)
    uint32_t *starts; // (options.window + 1) of a bin in `sorted`
    uint32_t *sorted; // (options.window) units by bin
} window;

struct mosa_loader {
    mosa_loader_options options;
    const mosa_store **stores; // (n_stores)
    uint64_t *quotas;          // (n_stores) units of an epoch
    size_t n_stores;
    int per_unit; // examples
    uint64_t epoch_units, n_windows;
    mosa_loader_position position;
    window window;
    mosa_packer *packer;
    int32_t *ids, *tokens, *positions, *labels;
    float *weight, *coef;
    mosa_data_segment *segments;
    mosa_data_origin *origins;
};

// --- creation -------------------------------------------------------------------------------------------------------

void mosa_loader_destroy(mosa_loader *loader) {
    if (!loader) return;
    mosa_packer_destroy(loader->packer);
    void *const owned[] = {loader->stores,      loader->quotas,        loader->ids,          loader->tokens,
                           loader->positions,   loader->labels,        loader->weight,       loader->coef,
                           loader->segments,    loader->origins,       loader->window.units, loader->window.lengths,
                           loader->window.bins, loader->window.starts, loader->window.sorted};
    for (size_t i = 0; i < MOSA_COUNT(owned); i++) free(owned[i]);
    free(loader);
}

static mosa_status check_stores(const mosa_loader *l, mosa_error *err) {
    const mosa_store_info *first = mosa_store_get_info(l->stores[0]);
    for (size_t i = 0; i < l->n_stores; i++) {
        const mosa_store_info *info = mosa_store_get_info(l->stores[i]);
        // Texts and conversations are both examples by themselves.
        bool alike = info->kind == first->kind || (info->kind <= MOSA_DATA_CHAT && first->kind <= MOSA_DATA_CHAT);
        if (!alike)
            return mosa_fail(err, MOSA_EINVALID, "data set %zu holds %s, the first one %s: they cannot be mixed", i,
                             mosa_data_kind_name(info->kind), mosa_data_kind_name(first->kind));
        if (info->vocab_hash != first->vocab_hash || info->vocab_size != first->vocab_size)
            return mosa_fail(err, MOSA_EINVALID, "data set %zu was made with another tokenizer than the first one", i);
    }
    return MOSA_OK;
}

// Units of each set in an epoch.
static mosa_status find_quotas(mosa_loader *l, mosa_error *err) {
    const double *shares = l->options.shares;
    double sum = 0, total = 0;
    for (size_t i = 0; shares && i < l->n_stores; i++) {
        if (!(shares[i] > 0) || !isfinite(shares[i]))
            return mosa_fail(err, MOSA_EINVALID, "the share of data set %zu must be above 0", i);
        sum += shares[i];
    }
    for (size_t i = 0; shares && i < l->n_stores; i++) {
        double whole = (double)mosa_store_units(l->stores[i]) * sum / shares[i];
        bool better = l->options.stop == MOSA_MIX_FIRST ? whole < total : whole > total;
        if (i == 0 || better) total = whole;
    }
    l->epoch_units = 0;
    for (size_t i = 0; i < l->n_stores; i++) {
        uint64_t units = mosa_store_units(l->stores[i]), quota = units;
        if (shares) quota = (uint64_t)llround(total * shares[i] / sum);
        if (quota == 0) quota = 1;
        if (shares && l->options.stop == MOSA_MIX_FIRST && quota > units) quota = units;
        l->quotas[i] = quota;
        l->epoch_units += quota;
    }
    return MOSA_OK;
}

static mosa_status alloc_buffers(mosa_loader *l, mosa_error *err) {
    size_t rows = (size_t)l->options.max_rows, w = (size_t)l->options.window, longest = 0;
    for (size_t i = 0; i < l->n_stores; i++) {
        size_t n = (size_t)mosa_store_get_info(l->stores[i])->longest;
        if (n > longest) longest = n;
    }
    window *win = &l->window;
    l->ids = calloc(longest + 1, sizeof *l->ids);
    l->weight = calloc(longest + 1, sizeof *l->weight);
    l->tokens = calloc(rows, sizeof *l->tokens);
    l->positions = calloc(rows, sizeof *l->positions);
    l->labels = calloc(rows, sizeof *l->labels);
    l->coef = calloc(rows, sizeof *l->coef);
    l->segments = calloc(rows, sizeof *l->segments);
    l->origins = calloc(rows, sizeof *l->origins);
    win->units = calloc(w, sizeof *win->units);
    win->lengths = calloc(w, sizeof *win->lengths);
    win->bins = calloc(w, sizeof *win->bins);
    win->starts = calloc(w + 1, sizeof *win->starts);
    win->sorted = calloc(w, sizeof *win->sorted);
    bool ok = l->ids && l->weight && l->tokens && l->positions && l->labels && l->coef && l->segments && l->origins &&
              win->units && win->lengths && win->bins && win->starts && win->sorted;
    return ok ? MOSA_OK : mosa_fail(err, MOSA_ENOMEM, "out of memory for batches of %zu rows", rows);
}

static mosa_status set_up(mosa_loader *l, const mosa_store *const *stores, mosa_error *err) {
    mosa_loader_options *o = &l->options;
    if (o->max_rows < 1 || o->max_rows > ROWS_MAX)
        return mosa_fail(err, MOSA_EINVALID, "batches of %d rows; 1 to %d are possible", (int)o->max_rows, ROWS_MAX);
    if (o->window <= 0) o->window = MOSA_LOADER_WINDOW;
    if (o->n_ranks <= 0) o->n_ranks = 1;
    if (o->rank < 0 || o->rank >= o->n_ranks)
        return mosa_fail(err, MOSA_EINVALID, "rank %d of %d", (int)o->rank, (int)o->n_ranks);
    l->stores = calloc(l->n_stores, sizeof *l->stores);
    l->quotas = calloc(l->n_stores, sizeof *l->quotas);
    if (!l->stores || !l->quotas) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a loader");
    memcpy(l->stores, stores, l->n_stores * sizeof *l->stores);
    MOSA_TRY(check_stores(l, err));
    l->per_unit = mosa_store_unit_examples(mosa_store_get_info(l->stores[0])->kind);
    MOSA_TRY(find_quotas(l, err));
    if ((uint64_t)o->window > l->epoch_units) o->window = (int32_t)l->epoch_units;
    l->n_windows = (l->epoch_units + (uint64_t)o->window - 1) / (uint64_t)o->window;
    MOSA_TRY(alloc_buffers(l, err));
    return mosa_packer_create(o->max_rows, (size_t)o->window, o->max_units, &l->packer, err);
}

mosa_status mosa_loader_create(const mosa_store *const *stores, size_t n_stores, const mosa_loader_options *options,
                               mosa_loader **out, mosa_error *err) {
    if (n_stores < 1 || n_stores > MOSA_MIX_SETS_MAX)
        return mosa_fail(err, MOSA_EINVALID, "%zu data sets; 1 to %d can be mixed", n_stores, MOSA_MIX_SETS_MAX);
    mosa_loader *loader = calloc(1, sizeof *loader);
    if (!loader) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a loader");
    loader->options = *options;
    loader->n_stores = n_stores;
    mosa_status status = set_up(loader, stores, err);
    loader->options.shares = NULL; // borrowed for the call
    if (status == MOSA_OK)
        *out = loader;
    else
        mosa_loader_destroy(loader);
    return status;
}

uint64_t mosa_loader_epoch_units(const mosa_loader *loader) {
    return loader->epoch_units;
}

// --- a window -------------------------------------------------------------------------------------------------------

// The unit in place `slot` of an epoch.
static unit choose(const mosa_loader *l, uint64_t epoch, uint64_t slot) {
    const mosa_loader_options *o = &l->options;
    uint64_t at = o->shuffle ? mosa_data_permute(l->epoch_units, o->seed, epoch, slot) : slot;
    uint32_t set = 0;
    while (at >= l->quotas[set]) at -= l->quotas[set++];
    uint64_t units = mosa_store_units(l->stores[set]), drawn = epoch * l->quotas[set] + at;
    uint64_t pass = drawn / units, index = drawn % units;
    if (o->shuffle) index = mosa_data_permute(units, mosa_rng_mix(o->seed + set + 1), pass, index);
    return (unit){.set = set, .first = index * (uint64_t)l->per_unit};
}

static mosa_status measure(const mosa_loader *l, const unit *u, int32_t *rows, mosa_error *err) {
    const mosa_store *store = l->stores[u->set];
    int64_t sum = 0;
    for (int i = 0; i < l->per_unit; i++) {
        int32_t n = mosa_store_length(store, u->first + (uint64_t)i);
        if (n < 2 || n > mosa_store_get_info(store)->longest)
            return mosa_fail(err, MOSA_ECORRUPT, "data set %u: the store's index is broken", u->set);
        sum += l->options.last_row ? n : n - 1;
    }
    if (sum > l->options.max_rows) {
        (void)mosa_fail(err, MOSA_EINVALID, "example %llu of data set %u takes %lld rows, a batch has %d",
                        (unsigned long long)u->first, u->set, (long long)sum, (int)l->options.max_rows);
        return mosa_hint(err, "raise the rows of a batch, or make the data with a smaller --seq-len");
    }
    *rows = (int32_t)sum;
    return MOSA_OK;
}

// Chooses, measures and packs window `index` of an epoch, unless it is there.
static mosa_status load_window(mosa_loader *l, uint64_t epoch, uint64_t index, mosa_error *err) {
    window *w = &l->window;
    if (w->valid && w->epoch == epoch && w->index == index) return MOSA_OK;
    uint64_t begin = index * (uint64_t)l->options.window, left = l->epoch_units - begin;
    w->valid = false;
    w->n_units = left < (uint64_t)l->options.window ? (size_t)left : (size_t)l->options.window;
    for (size_t i = 0; i < w->n_units; i++) {
        w->units[i] = choose(l, epoch, begin + i);
        MOSA_TRY(measure(l, &w->units[i], &w->lengths[i], err));
    }
    w->n_bins = mosa_packer_run(l->packer, w->lengths, w->n_units, w->bins);
    memset(w->starts, 0, (w->n_bins + 1) * sizeof *w->starts);
    for (size_t i = 0; i < w->n_units; i++) w->starts[w->bins[i] + 1]++;
    for (size_t i = 0; i < w->n_bins; i++) w->starts[i + 1] += w->starts[i];
    for (size_t i = 0; i < w->n_units; i++) w->sorted[w->starts[w->bins[i]]++] = (uint32_t)i;
    for (size_t i = w->n_bins; i > 0; i--) w->starts[i] = w->starts[i - 1];
    w->starts[0] = 0;
    w->epoch = epoch;
    w->index = index;
    w->valid = true;
    return MOSA_OK;
}

// --- a batch --------------------------------------------------------------------------------------------------------

static mosa_status add_example(mosa_loader *l, uint32_t set, uint64_t index, mosa_data_batch *b, mosa_error *err) {
    mosa_train_example e;
    MOSA_TRY(mosa_store_read(l->stores[set], index, l->ids, l->weight, &e, err));
    int32_t begin = b->rows, rows = l->options.last_row ? e.n : e.n - 1;
    for (int32_t t = 0; t < rows; t++) {
        float weight = t + 1 < e.n ? e.weight[t + 1] : 0;
        l->tokens[begin + t] = e.ids[t];
        l->positions[begin + t] = t;
        l->labels[begin + t] = weight != 0 ? e.ids[t + 1] : -1;
        l->coef[begin + t] = weight;
        b->n_supervised += weight != 0;
        b->coef_sum += (double)weight;
    }
    l->segments[b->n_segments] = (mosa_data_segment){begin, rows};
    l->origins[b->n_segments++] = (mosa_data_origin){.set = set, .example = index, .role = e.role};
    b->rows += rows;
    return MOSA_OK;
}

static mosa_status fill(mosa_loader *l, size_t bin, mosa_data_batch *batch, mosa_error *err) {
    const window *w = &l->window;
    mosa_data_batch b = {.tokens = l->tokens,
                         .positions = l->positions,
                         .labels = l->labels,
                         .coef = l->coef,
                         .segments = l->segments,
                         .origins = l->origins};
    for (uint32_t i = w->starts[bin]; i < w->starts[bin + 1]; i++) {
        const unit *u = &w->units[w->sorted[i]];
        for (int k = 0; k < l->per_unit; k++) MOSA_TRY(add_example(l, u->set, u->first + (uint64_t)k, &b, err));
    }
    *batch = b;
    return MOSA_OK;
}

// Goes from the end of a window to the next one. *ended: there is none in this epoch.
static mosa_status settle(mosa_loader *l, mosa_loader_position *p, bool *ended, mosa_error *err) {
    *ended = false;
    while (p->window < l->n_windows) {
        MOSA_TRY(load_window(l, p->epoch, p->window, err));
        if (p->batch < l->window.n_bins) return MOSA_OK;
        p->window++;
        p->batch = 0;
    }
    *ended = true;
    return MOSA_OK;
}

// One batch for each rank; *whole is false when the epoch ended before all had one.
static mosa_status next_round(mosa_loader *l, mosa_loader_position *p, mosa_data_batch *batch, bool *whole,
                              mosa_error *err) {
    *whole = false;
    for (int32_t rank = 0; rank < l->options.n_ranks; rank++) {
        bool ended;
        MOSA_TRY(settle(l, p, &ended, err));
        if (ended) return MOSA_OK;
        size_t bin = p->batch++, n = l->window.n_bins;
        if (l->options.shuffle)
            bin = mosa_data_permute(n, l->options.seed + 1, mosa_rng_mix(p->epoch) + p->window, bin);
        if (rank == l->options.rank) MOSA_TRY(fill(l, bin, batch, err));
    }
    *whole = true;
    return MOSA_OK;
}

mosa_status mosa_loader_next(mosa_loader *loader, mosa_data_batch *batch, mosa_error *err) {
    mosa_loader_position p = loader->position;
    mosa_data_batch out;
    bool whole, fresh;
    do {
        fresh = p.window == 0 && p.batch == 0;
        MOSA_TRY(next_round(loader, &p, &out, &whole, err));
        if (whole) break;
        p = (mosa_loader_position){.epoch = p.epoch + 1};
    } while (!fresh);
    if (!whole)
        return mosa_fail(err, MOSA_EINVALID, "an epoch has fewer batches than there are ranks (%d)",
                         (int)loader->options.n_ranks);
    loader->position = p;
    *batch = out;
    return MOSA_OK;
}

// --- positions ------------------------------------------------------------------------------------------------------

mosa_loader_position mosa_loader_get_position(const mosa_loader *loader) {
    return loader->position;
}

mosa_status mosa_loader_set_position(mosa_loader *loader, mosa_loader_position position, mosa_error *err) {
    bool good = position.window < loader->n_windows || (position.window == loader->n_windows && position.batch == 0);
    if (good && position.window < loader->n_windows) {
        MOSA_TRY(load_window(loader, position.epoch, position.window, err));
        good = position.batch <= loader->window.n_bins;
    }
    if (!good)
        return mosa_fail(err, MOSA_EINVALID,
                         "there is no batch %llu in window %llu of epoch %llu: other data, or other options",
                         (unsigned long long)position.batch, (unsigned long long)position.window,
                         (unsigned long long)position.epoch);
    loader->position = position;
    return MOSA_OK;
}

mosa_status mosa_loader_epoch_batches(mosa_loader *loader, uint64_t epoch, uint64_t *batches, mosa_error *err) {
    uint64_t sum = 0;
    for (uint64_t i = 0; i < loader->n_windows; i++) {
        MOSA_TRY(load_window(loader, epoch, i, err));
        sum += loader->window.n_bins;
    }
    *batches = sum / (uint64_t)loader->options.n_ranks;
    return MOSA_OK;
}
