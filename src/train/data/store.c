// The store's file, little-endian:
//
//   head   "MOSADATA", u32 version, u32 zero
//   body   per example: n ids of id_bytes each, padded to 4; then n_runs of {u32 tokens, f32 weight}
//   index  per example: {u64 offset of its body; u64 line; u32 n; u32 n_runs; u32 file; u32 role}
//   foot   info, offset of the index, id_bytes; a hash of the foot; "MOSADATA" again
//
// While it is written the index goes to a nameless temporary file, so that memory stays bounded.
#include "train/data/store.h"

#include "base/file.h"
#include "base/out_file.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char magic[8] = {'M', 'O', 'S', 'A', 'D', 'A', 'T', 'A'};
enum { STORE_VERSION = 1, WIDE_VOCAB = 65536 };

typedef struct store_head {
    char magic[8];
    uint32_t version, zero;
} store_head;

typedef struct store_entry {
    uint64_t offset, line;
    uint32_t n, n_runs, file, role;
} store_entry;

typedef struct store_run {
    uint32_t tokens;
    float weight;
} store_run;

typedef struct store_foot {
    uint64_t vocab_hash, key, n_examples, n_tokens, n_supervised;
    double weight_sum;
    uint64_t index_offset;
    uint32_t kind;
    int32_t vocab_size, longest;
    uint32_t id_bytes;
    uint64_t hash; // of the bytes before it
    char magic[8];
} store_foot;

// --- writing --------------------------------------------------------------------------------------------------------

struct mosa_store_writer {
    mosa_out_file *file;
    FILE *index;
    store_foot foot;
    mosa_buf body; // of one example
    uint64_t offset;
};

mosa_status mosa_store_writer_create(const char *path, const mosa_store_info *info, mosa_store_writer **out,
                                     mosa_error *err) {
    mosa_store_writer *w = calloc(1, sizeof *w);
    if (!w) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
    store_head head = {.version = STORE_VERSION};
    memcpy(head.magic, magic, sizeof magic);
    w->foot = (store_foot){.vocab_hash = info->vocab_hash,
                           .key = info->key,
                           .kind = (uint32_t)info->kind,
                           .vocab_size = info->vocab_size,
                           .id_bytes = info->vocab_size <= WIDE_VOCAB ? 2 : 4};
    w->offset = sizeof head;
    mosa_status status = mosa_out_file_create(path, &w->file, err);
    if (status == MOSA_OK) {
        w->index = tmpfile();
        if (!w->index) status = mosa_fail_errno(err, errno, "%s: cannot make a temporary file", path);
    }
    if (status == MOSA_OK) status = mosa_out_file_write(w->file, &head, sizeof head, err);
    if (status == MOSA_OK)
        *out = w;
    else
        mosa_store_writer_destroy(w);
    return status;
}

void mosa_store_writer_destroy(mosa_store_writer *writer) {
    if (!writer) return;
    mosa_out_file_destroy(writer->file);
    if (writer->index) fclose(writer->index);
    mosa_buf_finish(&writer->body);
    free(writer);
}

static void put_ids(mosa_store_writer *w, const mosa_train_example *e) {
    size_t n = (size_t)e->n;
    if (w->foot.id_bytes == 4) {
        mosa_buf_append(&w->body, e->ids, n * sizeof *e->ids);
        return;
    }
    if (!mosa_buf_reserve(&w->body, (n + 1) * sizeof(uint16_t))) return;
    for (size_t i = 0; i < n; i++) {
        uint16_t id = (uint16_t)e->ids[i];
        mosa_buf_append(&w->body, &id, sizeof id);
    }
    uint16_t zero = 0;
    if (n % 2) mosa_buf_append(&w->body, &zero, sizeof zero);
}

static uint32_t put_runs(mosa_store_writer *w, const mosa_train_example *e) {
    uint32_t n_runs = 0;
    for (int32_t i = 0; i < e->n;) {
        store_run run = {0, e->weight[i]};
        while (i < e->n && e->weight[i] == run.weight) i++, run.tokens++;
        mosa_buf_append(&w->body, &run, sizeof run);
        n_runs++;
    }
    return n_runs;
}

mosa_status mosa_store_writer_add(mosa_store_writer *writer, const mosa_train_example *example, mosa_error *err) {
    store_foot *foot = &writer->foot;
    if (example->n < 2) return mosa_fail(err, MOSA_EINVALID, "an example needs two tokens");
    for (int32_t i = 0; i < example->n; i++)
        if (example->ids[i] < 0 || example->ids[i] >= foot->vocab_size)
            return mosa_fail(err, MOSA_EINVALID, "token %d is not in the vocabulary", (int)example->ids[i]);
    mosa_buf_clear(&writer->body);
    put_ids(writer, example);
    store_entry entry = {.offset = writer->offset,
                         .line = example->line,
                         .n = (uint32_t)example->n,
                         .n_runs = put_runs(writer, example),
                         .file = example->file,
                         .role = (uint32_t)example->role};
    if (mosa_buf_failed(&writer->body)) return mosa_fail(err, MOSA_ENOMEM, "out of memory for an example");
    MOSA_TRY(mosa_out_file_write(writer->file, writer->body.data, writer->body.len, err));
    if (fwrite(&entry, sizeof entry, 1, writer->index) != 1)
        return mosa_fail_errno(err, errno, "cannot write the index's temporary file");
    writer->offset += writer->body.len;
    foot->n_examples++;
    foot->n_tokens += (uint64_t)example->n;
    if (example->n > foot->longest) foot->longest = example->n;
    for (int32_t i = 1; i < example->n; i++) {
        foot->n_supervised += example->weight[i] != 0;
        foot->weight_sum += (double)example->weight[i];
    }
    return MOSA_OK;
}

static mosa_status copy_index(mosa_store_writer *w, mosa_error *err) {
    store_entry entries[512];
    size_t n;
    uint64_t copied = 0;
    if (fseek(w->index, 0, SEEK_SET) != 0) return mosa_fail_errno(err, errno, "cannot read the index's temporary file");
    while ((n = fread(entries, sizeof *entries, MOSA_COUNT(entries), w->index)) > 0) {
        MOSA_TRY(mosa_out_file_write(w->file, entries, n * sizeof *entries, err));
        copied += n;
    }
    if (copied == w->foot.n_examples) return MOSA_OK;
    return mosa_fail(err, MOSA_EIO, "the index's temporary file is not whole");
}

static uint64_t foot_hash(const store_foot *foot) {
    return mosa_hash_bytes(foot, offsetof(store_foot, hash), STORE_VERSION);
}

static mosa_store_info info_of(const store_foot *foot) {
    return (mosa_store_info){.kind = (mosa_data_kind)foot->kind,
                             .vocab_size = foot->vocab_size,
                             .vocab_hash = foot->vocab_hash,
                             .key = foot->key,
                             .n_examples = foot->n_examples,
                             .n_tokens = foot->n_tokens,
                             .n_supervised = foot->n_supervised,
                             .weight_sum = foot->weight_sum,
                             .longest = foot->longest};
}

mosa_status mosa_store_writer_commit(mosa_store_writer *writer, mosa_store_info *info, mosa_error *err) {
    static const char zeros[8];
    if (writer->foot.n_examples == 0) {
        (void)mosa_fail(err, MOSA_EINVALID, "the data holds no example");
        return mosa_hint(err, "are the files empty, or were all records dropped?");
    }
    size_t pad = (8 - writer->offset % 8) % 8;
    MOSA_TRY(mosa_out_file_write(writer->file, zeros, pad, err));
    writer->foot.index_offset = writer->offset + pad;
    MOSA_TRY(copy_index(writer, err));
    writer->foot.hash = foot_hash(&writer->foot);
    memcpy(writer->foot.magic, magic, sizeof magic);
    MOSA_TRY(mosa_out_file_write(writer->file, &writer->foot, sizeof writer->foot, err));
    MOSA_TRY(mosa_out_file_commit(writer->file, err));
    if (info) *info = info_of(&writer->foot);
    return MOSA_OK;
}

// --- reading --------------------------------------------------------------------------------------------------------

struct mosa_store {
    mosa_file_map map;
    mosa_store_info info;
    const store_entry *index; // (n_examples)
    uint64_t index_offset;
    uint32_t id_bytes;
};

static mosa_status corrupt(const mosa_store *s, mosa_error *err, const char *what) {
    (void)mosa_fail(err, MOSA_ECORRUPT, "%s: %s", s->map.path, what);
    return mosa_hint(err, "remove the file; it is made again from the data");
}

static mosa_status read_foot(mosa_store *s, mosa_error *err) {
    store_head head;
    store_foot foot;
    if (s->map.size < sizeof head + sizeof foot) return corrupt(s, err, "too short for a token store");
    memcpy(&head, s->map.data, sizeof head);
    memcpy(&foot, s->map.data + s->map.size - sizeof foot, sizeof foot);
    if (memcmp(head.magic, magic, sizeof magic) != 0) return corrupt(s, err, "this is no token store");
    if (head.version != STORE_VERSION)
        return mosa_fail(err, MOSA_EUNSUPPORTED, "%s: version %u of token stores, %d is known", s->map.path,
                         head.version, STORE_VERSION);
    if (memcmp(foot.magic, magic, sizeof magic) != 0 || foot.hash != foot_hash(&foot))
        return corrupt(s, err, "the file was cut short or changed");
    uint64_t room = s->map.size - sizeof foot;
    bool good = foot.index_offset % 8 == 0 && foot.index_offset <= room &&
                foot.n_examples == (room - foot.index_offset) / sizeof(store_entry) &&
                foot.kind <= MOSA_DATA_LABELLED && (foot.id_bytes == 2 || foot.id_bytes == 4) && foot.vocab_size > 0 &&
                foot.n_examples % (uint64_t)mosa_store_unit_examples((mosa_data_kind)foot.kind) == 0;
    if (!good) return corrupt(s, err, "its foot does not fit the file");
    s->info = info_of(&foot);
    s->index = (const store_entry *)(const void *)(s->map.data + foot.index_offset);
    s->index_offset = foot.index_offset;
    s->id_bytes = foot.id_bytes;
    return MOSA_OK;
}

mosa_status mosa_store_open(const char *path, mosa_store **out, mosa_error *err) {
    mosa_store *store = calloc(1, sizeof *store);
    if (!store) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
    mosa_status status = mosa_file_map_open(path, &store->map, err);
    if (status == MOSA_OK) status = read_foot(store, err);
    if (status == MOSA_OK)
        *out = store;
    else
        mosa_store_close(store);
    return status;
}

void mosa_store_close(mosa_store *store) {
    if (!store) return;
    mosa_file_map_close(&store->map);
    free(store);
}

const mosa_store_info *mosa_store_get_info(const mosa_store *store) {
    return &store->info;
}
uint64_t mosa_store_units(const mosa_store *store) {
    return store->info.n_examples / (uint64_t)mosa_store_unit_examples(store->info.kind);
}
int32_t mosa_store_length(const mosa_store *store, uint64_t example) {
    return (int32_t)store->index[example].n;
}

static mosa_status read_weights(const mosa_store *s, const store_entry *e, const unsigned char *at, float *weight,
                                mosa_error *err) {
    uint32_t done = 0;
    for (uint32_t r = 0; r < e->n_runs; r++) {
        store_run run;
        memcpy(&run, at + r * sizeof run, sizeof run);
        if (run.tokens > e->n - done) return corrupt(s, err, "an example's weights are broken");
        for (uint32_t i = 0; i < run.tokens; i++) weight[done++] = run.weight;
    }
    return done == e->n ? MOSA_OK : corrupt(s, err, "an example's weights are broken");
}

mosa_status mosa_store_read(const mosa_store *store, uint64_t example, int32_t *ids, float *weight,
                            mosa_train_example *out, mosa_error *err) {
    const store_entry *e = &store->index[example];
    uint64_t id_part = ((uint64_t)e->n * store->id_bytes + 3) / 4 * 4;
    uint64_t bytes = id_part + (uint64_t)e->n_runs * sizeof(store_run);
    bool good = e->n >= 2 && e->n <= (uint32_t)store->info.longest && e->offset >= sizeof(store_head) &&
                e->offset <= store->index_offset && bytes <= store->index_offset - e->offset;
    if (!good) return corrupt(store, err, "an example lies outside of the file");
    const unsigned char *at = store->map.data + e->offset;
    for (uint32_t i = 0; i < e->n; i++) {
        uint16_t narrow;
        if (store->id_bytes == 2) {
            memcpy(&narrow, at + 2 * (size_t)i, sizeof narrow);
            ids[i] = narrow;
        } else {
            memcpy(&ids[i], at + 4 * (size_t)i, sizeof ids[i]);
        }
        if (ids[i] < 0 || ids[i] >= store->info.vocab_size)
            return corrupt(store, err, "an id is not in the vocabulary");
    }
    MOSA_TRY(read_weights(store, e, at + id_part, weight, err));
    *out = (mosa_train_example){.ids = ids,
                                .weight = weight,
                                .n = (int32_t)e->n,
                                .role = (mosa_example_role)e->role,
                                .file = e->file,
                                .line = e->line};
    return MOSA_OK;
}
