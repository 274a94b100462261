// Finding, loading and checking the CUDA plugin. One mutex guards the table, which never changes once it is set.
#include "backend/cuda/cuda_loader.h"

#include "base/file.h"

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLUGIN_FILE "libmosa_cuda.so"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const mosa_cuda_plugin *loaded; // guarded by lock
static char loaded_path[PATH_MAX];     // guarded by lock; constant once `loaded` is set

// The folder of the running binary, without a slash at its end; "" when the system does not tell.
static void binary_folder(char folder[PATH_MAX]) {
    ssize_t n = readlink("/proc/self/exe", folder, PATH_MAX - 1);
    folder[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(folder, '/');
    if (slash) *slash = '\0';
}

// The first place that holds the plugin.
static bool find_plugin(char path[PATH_MAX]) {
    const char *named = getenv("MOSA_CUDA_PLUGIN");
    if (named && *named) {
        (void)snprintf(path, PATH_MAX, "%s", named);
        return true; // dlopen says what is wrong with it
    }
    static const char *const places[] = {"", "/../lib/mosa", "/../lib"};
    char folder[PATH_MAX];
    binary_folder(folder);
    for (size_t i = 0; *folder && i < MOSA_COUNT(places); i++) {
        int n = snprintf(path, PATH_MAX, "%s%s/%s", folder, places[i], PLUGIN_FILE);
        if (n > 0 && n < PATH_MAX && mosa_file_exists(path)) return true;
    }
    return false;
}

static mosa_status no_plugin(mosa_error *err) {
    (void)mosa_fail(err, MOSA_EUNAVAILABLE, "cuda: " PLUGIN_FILE " is neither beside this program nor in its ../lib");
    return err ? mosa_hint(err, "build it with `make gpu` (needs nvcc), or name its file in MOSA_CUDA_PLUGIN")
               : MOSA_EUNAVAILABLE;
}

static mosa_status check_plugin(const mosa_cuda_plugin *plugin, const char *path, mosa_error *err) {
    if (plugin->version == MOSA_CUDA_PLUGIN_VERSION && plugin->layout() == mosa_cuda_plugin_layout()) return MOSA_OK;
    (void)mosa_fail(err, MOSA_EUNAVAILABLE, "cuda: %.200s was built from other sources than this program (%s)", path,
                    plugin->version == MOSA_CUDA_PLUGIN_VERSION ? "its structs differ" : "its interface differs");
    return err ? mosa_hint(err, "build both anew: `make gpu`") : MOSA_EUNAVAILABLE;
}

static mosa_status load(const mosa_cuda_plugin **out, char path[PATH_MAX], mosa_error *err) {
    if (!find_plugin(path)) return no_plugin(err);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *why = dlerror();
        return mosa_fail(err, MOSA_EUNAVAILABLE, "cuda: %.300s", why ? why : path);
    }
    const mosa_cuda_plugin *plugin = dlsym(library, MOSA_CUDA_PLUGIN_SYMBOL);
    mosa_status status = plugin ? check_plugin(plugin, path, err)
                                : mosa_fail(err, MOSA_EUNAVAILABLE, "cuda: %.200s is no plugin of this version", path);
    if (status == MOSA_OK)
        *out = plugin;
    else
        (void)dlclose(library);
    return status;
}

mosa_status mosa_cuda_plugin_load(const mosa_cuda_plugin **out, mosa_error *err) {
    (void)pthread_mutex_lock(&lock);
    mosa_status status = loaded ? MOSA_OK : load(&loaded, loaded_path, err);
    if (status == MOSA_OK) *out = loaded;
    (void)pthread_mutex_unlock(&lock);
    return status;
}

mosa_status mosa_cuda_list(mosa_cuda_device *devices, int max, int *n, const char **path, mosa_error *err) {
    const mosa_cuda_plugin *plugin;
    int count = 0;
    MOSA_TRY(mosa_cuda_plugin_load(&plugin, err));
    MOSA_TRY(plugin->count(&count, err));
    for (int i = 0; i < count && i < max; i++) MOSA_TRY(plugin->device(i, &devices[i], err));
    *n = count;
    if (path) *path = loaded_path;
    return MOSA_OK;
}

// "" = the first device that can be used, or the first one when none can.
static mosa_status choose(const mosa_cuda_plugin *plugin, const char *variant, int *index, mosa_error *err) {
    int count = 0;
    *index = 0;
    if (*variant) {
        char *end;
        long number = strtol(variant, &end, 10);
        if (*variant < '0' || *variant > '9' || *end || number > INT_MAX)
            return mosa_fail(err, MOSA_ENOTFOUND, "no device 'cuda:%.60s'", variant);
        *index = (int)number;
        return MOSA_OK;
    }
    MOSA_TRY(plugin->count(&count, err));
    for (int i = 0; i < count; i++) {
        mosa_cuda_device device;
        if (plugin->device(i, &device, NULL) != MOSA_OK || device.unusable[0]) continue;
        *index = i;
        break;
    }
    return MOSA_OK;
}

mosa_status mosa_cuda_open(const mosa_backend_options *options, const char *variant, mosa_backend **out,
                           mosa_error *err) {
    const mosa_cuda_plugin *plugin;
    int index;
    MOSA_TRY(mosa_cuda_plugin_load(&plugin, err));
    MOSA_TRY(choose(plugin, variant, &index, err));
    return plugin->open(options, index, out, err);
}
