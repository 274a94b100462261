// Loading, finding and dropping adapters.
#include "engine/adapters.h"

#include "base/utf8.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

mosa_status mosa_adapters_init(mosa_adapter_table *table, const mosa_model *model, int max, mosa_error *err) {
    table->model = model;
    table->max = max;
    table->next_id = 1;
    table->listed = calloc((size_t)max + 1, sizeof(mosa_engine_adapter *));
    if (!table->listed) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a table of %d adapters", max);
    pthread_mutex_init(&table->mutex, NULL);
    return MOSA_OK;
}

void mosa_adapters_finish(mosa_adapter_table *table) {
    if (!table->listed) return;
    for (int i = 0; i < table->n_listed; i++) mosa_adapters_unref(table->listed[i]);
    assert(atomic_load(&table->alive) == 0);
    pthread_mutex_destroy(&table->mutex);
    free(table->listed);
    table->listed = NULL;
}

void mosa_adapters_unref(mosa_engine_adapter *adapter) {
    if (!adapter || atomic_fetch_sub(&adapter->refs, 1) > 1) return;
    mosa_adapter_table *table = adapter->table;
    if (adapter->resident) mosa_model_adapter_destroy(table->model, adapter->resident);
    free(adapter);
    atomic_fetch_sub(&table->alive, 1);
}

// Index of a name in the table, -1 when absent. With the mutex held.
static int find(const mosa_adapter_table *table, const char *name) {
    for (int i = 0; i < table->n_listed; i++)
        if (strcmp(table->listed[i]->name, name) == 0) return i;
    return -1;
}

static void take_off(mosa_adapter_table *table, int index) {
    table->n_listed--;
    memmove(table->listed + index, table->listed + index + 1,
            (size_t)(table->n_listed - index) * sizeof(mosa_engine_adapter *));
}

static mosa_status check_name(const char *name, mosa_error *err) {
    size_t len = strlen(name);
    if (len == 0 || len > MOSA_ADAPTER_NAME_MAX)
        return mosa_fail(err, MOSA_EINVALID, "an adapter's name has 1 to %d bytes, not %zu", MOSA_ADAPTER_NAME_MAX,
                         len);
    for (size_t at = 0; at < len;) {
        size_t character = mosa_utf8_len((const unsigned char *)name + at, len - at);
        if (character == 0 || (unsigned char)name[at] < ' ')
            return mosa_fail(err, MOSA_EINVALID, "an adapter's name must be printable UTF-8");
        at += character;
    }
    return MOSA_OK;
}

// Puts a new entry into the table, so that the name and the room are taken while its file is read.
static mosa_status reserve(mosa_adapter_table *table, mosa_engine_adapter *adapter, mosa_error *err) {
    if (find(table, adapter->name) >= 0)
        return mosa_fail(err, MOSA_EEXISTS, "adapter '%s' is loaded already", adapter->name);
    if (table->max == 0) {
        (void)mosa_fail(err, MOSA_EUNSUPPORTED, "this engine was opened without adapters (max_adapters)");
        return mosa_hint(err, "start it with --max-adapters 1 or more");
    }
    if (atomic_load(&table->alive) >= table->max) {
        (void)mosa_fail(err, MOSA_ELIMIT,
                        "%d adapters are loaded already, or still used by running requests "
                        "(max_adapters)",
                        table->max);
        return mosa_hint(err, "unload one, or raise --max-adapters");
    }
    adapter->table = table;
    adapter->id = table->next_id++;
    atomic_store(&adapter->refs, 1);
    atomic_fetch_add(&table->alive, 1);
    table->listed[table->n_listed++] = adapter;
    return MOSA_OK;
}

mosa_status mosa_adapters_load(mosa_adapter_table *table, const char *name, const char *path, mosa_error *err) {
    MOSA_TRY(check_name(name, err));
    mosa_engine_adapter *adapter = calloc(1, sizeof *adapter);
    if (!adapter) return mosa_fail(err, MOSA_ENOMEM, "out of memory for an adapter");
    memcpy(adapter->name, name, strlen(name) + 1);
    pthread_mutex_lock(&table->mutex);
    mosa_status status = reserve(table, adapter, err);
    pthread_mutex_unlock(&table->mutex);
    if (status != MOSA_OK) {
        free(adapter);
        return status;
    }
    mosa_adapter *resident = NULL;
    int rank = 0;
    status = mosa_model_adapter_create(table->model, path, &resident, &rank, err);
    pthread_mutex_lock(&table->mutex);
    if (status == MOSA_OK) {
        adapter->resident = resident;
        adapter->rank = rank;
        adapter->bytes = (int64_t)mosa_model_adapter_bytes(table->model, resident);
    } else {
        take_off(table, find(table, name));
    }
    pthread_mutex_unlock(&table->mutex);
    if (status != MOSA_OK) mosa_adapters_unref(adapter);
    return status;
}

mosa_status mosa_adapters_unload(mosa_adapter_table *table, const char *name, mosa_error *err) {
    mosa_engine_adapter *dropped = NULL;
    pthread_mutex_lock(&table->mutex);
    int index = find(table, name);
    if (index >= 0 && table->listed[index]->resident) {
        dropped = table->listed[index];
        take_off(table, index);
    }
    pthread_mutex_unlock(&table->mutex);
    if (!dropped) return mosa_fail(err, MOSA_ENOTFOUND, "there is no adapter '%.128s'", name);
    mosa_adapters_unref(dropped);
    return MOSA_OK;
}

mosa_status mosa_adapters_ref(mosa_adapter_table *table, const char *name, mosa_engine_adapter **out, mosa_error *err) {
    mosa_engine_adapter *found = NULL;
    pthread_mutex_lock(&table->mutex);
    int index = find(table, name);
    if (index >= 0 && table->listed[index]->resident) found = table->listed[index];
    if (found) atomic_fetch_add(&found->refs, 1);
    pthread_mutex_unlock(&table->mutex);
    if (!found) return mosa_fail(err, MOSA_ENOTFOUND, "there is no adapter '%.128s'", name);
    *out = found;
    return MOSA_OK;
}

int mosa_adapters_list(mosa_adapter_table *table, mosa_adapter_info *out, int capacity) {
    int n = 0;
    pthread_mutex_lock(&table->mutex);
    for (int i = 0; i < table->n_listed; i++) {
        const mosa_engine_adapter *adapter = table->listed[i];
        if (!adapter->resident) continue;
        if (n < capacity) {
            out[n] = (mosa_adapter_info){.rank = adapter->rank, .bytes = adapter->bytes};
            memcpy(out[n].name, adapter->name, sizeof out[n].name);
            out[n].requests = atomic_load(&adapter->refs) - 1;
        }
        n++;
    }
    pthread_mutex_unlock(&table->mutex);
    return n;
}
