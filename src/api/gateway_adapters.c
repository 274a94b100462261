// The adapters of one model: those that it is served with, and what becomes of them when an engine starts anew.
//
// The list is the gateway's, guarded by its mutex; the engine's own follows it. A new engine loads all of it before it
// gets its first call, so that a call for an adapter is never told that there is none.
#include "api/gateway_internal.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

static int find(const mosa_gateway *gateway, const char *name) {
    for (int i = 0; i < gateway->n_adapters; i++)
        if (strcmp(gateway->adapters[i].name, name) == 0) return i;
    return -1;
}

// With the mutex held.
static bool add(mosa_gateway *gateway, const char *name, const char *path, int rank) {
    int index = find(gateway, name);
    if (index < 0) {
        size_t bytes = ((size_t)gateway->n_adapters + 1) * sizeof *gateway->adapters;
        mosa_gateway_adapter *grown = realloc(gateway->adapters, bytes);
        char *copy = strdup(path);
        if (grown) gateway->adapters = grown;
        if (!grown || !copy) {
            free(copy);
            return false;
        }
        index = gateway->n_adapters++;
        gateway->adapters[index] = (mosa_gateway_adapter){.path = copy};
        snprintf(gateway->adapters[index].name, sizeof gateway->adapters[index].name, "%s", name);
    }
    gateway->adapters[index].rank = rank;
    return true;
}

// With the mutex held.
static void drop(mosa_gateway *gateway, const char *name) {
    int index = find(gateway, name);
    if (index < 0) return;
    free(gateway->adapters[index].path);
    gateway->n_adapters--;
    memmove(&gateway->adapters[index], &gateway->adapters[index + 1],
            (size_t)(gateway->n_adapters - index) * sizeof *gateway->adapters);
}

mosa_status mosa_gateway_adapters_init(mosa_gateway *gateway, mosa_error *err) {
    for (int i = 0; i < gateway->options.n_adapters; i++) {
        const mosa_adapter_option *wanted = &gateway->options.adapters[i];
        if (strlen(wanted->name) > MOSA_ADAPTER_NAME_MAX || strlen(wanted->path) > MOSA_LINK_PATH_MAX)
            return mosa_fail(err, MOSA_EINVALID, "adapter '%.40s': name or path is too long", wanted->name);
        if (find(gateway, wanted->name) >= 0)
            return mosa_fail(err, MOSA_EINVALID, "two adapters are called '%s'", wanted->name);
        if (!add(gateway, wanted->name, wanted->path, 0)) return mosa_fail(err, MOSA_ENOMEM, "gateway: out of memory");
    }
    return MOSA_OK;
}

void mosa_gateway_adapters_finish(mosa_gateway *gateway) {
    for (int i = 0; i < gateway->n_adapters; i++) free(gateway->adapters[i].path);
    free(gateway->adapters);
}

bool mosa_gateway_has_adapter(mosa_gateway *gateway, const char *name) {
    pthread_mutex_lock(&gateway->mutex);
    bool found = find(gateway, name) >= 0;
    pthread_mutex_unlock(&gateway->mutex);
    return found;
}

void mosa_gateway_each_adapter(mosa_gateway *gateway, mosa_gateway_adapter_fn visit, void *user) {
    pthread_mutex_lock(&gateway->mutex);
    for (int i = 0; i < gateway->n_adapters; i++) visit(user, &gateway->adapters[i]);
    pthread_mutex_unlock(&gateway->mutex);
}

int mosa_gateway_restore_adapters(mosa_gateway *gateway) {
    mosa_buf frames = {0};
    pthread_mutex_lock(&gateway->mutex);
    int count = gateway->n_adapters;
    for (int i = 0; i < count; i++) {
        mosa_link_adapter adapter = {.load = true};
        snprintf(adapter.name, sizeof adapter.name, "%s", gateway->adapters[i].name);
        snprintf(adapter.path, sizeof adapter.path, "%s", gateway->adapters[i].path);
        mosa_link_put_adapter(&frames, 0, &adapter);
    }
    pthread_mutex_unlock(&gateway->mutex);
    if (mosa_buf_failed(&frames)) count = 0;
    if (count) mosa_link_client_submit(gateway->link, mosa_buf_slice(&frames));
    mosa_buf_finish(&frames);
    return count;
}

void mosa_gateway_note_adapter(mosa_gateway *gateway, const mosa_link_adapter_done *done) {
    const mosa_link_adapter *adapter = &done->adapter;
    mosa_status status = done->error.status;
    pthread_mutex_lock(&gateway->mutex);
    if (adapter->load && status == MOSA_OK)
        (void)add(gateway, adapter->name, adapter->path, done->rank); // unlisted it still works when it is named again
    else if (!adapter->load && (status == MOSA_OK || status == MOSA_ENOTFOUND))
        drop(gateway, adapter->name);
    pthread_mutex_unlock(&gateway->mutex);
}

void mosa_gateway_note_restored(mosa_gateway *gateway, const mosa_link_adapter_done *done) {
    // An engine that several gateways share may have it already.
    if (done->error.status == MOSA_OK) mosa_gateway_note_adapter(gateway, done);
    if (done->error.status == MOSA_OK || done->error.status == MOSA_EEXISTS) return;
    mosa_log_failure(MOSA_LOG_ERROR, "adapter could not be loaded", &done->error,
                     MOSA_KV("engine", gateway->options.engine.name),
                     MOSA_KV("adapter", (const char *)done->adapter.name));
    pthread_mutex_lock(&gateway->mutex);
    drop(gateway, done->adapter.name);
    pthread_mutex_unlock(&gateway->mutex);
}
