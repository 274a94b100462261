// The adapters that an engine serves, by name.
//
// A table entry refers to an adapter, and so does every sequence that uses it; the last reference frees its memory. So
// dropping a name takes effect for new requests at once, and running ones end as they began. `id` is never used twice:
// the prefix tree keeps the pages of different adapters apart by it, also when a name is loaded again.
//
// Threads: load, unload, ref and list from any thread, under the mutex; a file is read outside it. unref from any
// thread, without a lock: the engine's thread drops sequences.
#ifndef MOSA_ENGINE_ADAPTERS_H
#define MOSA_ENGINE_ADAPTERS_H

#include "model/model.h"
#include "mosa/mosa.h"

#include <pthread.h>
#include <stdatomic.h>

enum { MOSA_ADAPTERS_MAX = 1024, MOSA_ADAPTER_RANK_DEFAULT = 64 };

typedef struct mosa_adapter_table mosa_adapter_table;

typedef struct mosa_engine_adapter {
    char name[MOSA_ADAPTER_NAME_MAX + 1];
    uint64_t id;            // 1 and up; 0 stands for the base model
    mosa_adapter *resident; // NULL while its file is being read; constant afterwards
    int rank;
    int64_t bytes;
    mosa_adapter_table *table;
    _Atomic int64_t refs; // the table's own, and one per sequence
} mosa_engine_adapter;

struct mosa_adapter_table {
    const mosa_model *model;
    int max;
    pthread_mutex_t mutex;        // guards what follows
    mosa_engine_adapter **listed; // (n_listed, at most max) in order of loading
    int n_listed;
    uint64_t next_id;
    _Atomic int alive; // with those that only sequences refer to
};

mosa_status mosa_adapters_init(mosa_adapter_table *table, const mosa_model *model, int max, mosa_error *err);
void mosa_adapters_finish(mosa_adapter_table *table); // no sequence refers to any; safe on a zeroed struct

mosa_status mosa_adapters_load(mosa_adapter_table *table, const char *name, const char *path, mosa_error *err);
mosa_status mosa_adapters_unload(mosa_adapter_table *table, const char *name, mosa_error *err);
int mosa_adapters_list(mosa_adapter_table *table, mosa_adapter_info *out, int capacity);

// The adapter of that name with one more reference; MOSA_ENOTFOUND.
mosa_status mosa_adapters_ref(mosa_adapter_table *table, const char *name, mosa_engine_adapter **out, mosa_error *err);
void mosa_adapters_unref(mosa_engine_adapter *adapter); // NULL-safe

#endif
