// Where models live on this machine.
#include "cli/model_path.h"

#include "base/file.h"
#include "base/str.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

mosa_status mosa_model_home(char **out, mosa_error *err) {
    const char *home = getenv("MOSA_HOME"), *user = getenv("HOME");
    int len = home && *home ? asprintf(out, "%s/models", home)
                            : asprintf(out, "%s/.local/share/mosa/models", user && *user ? user : ".");
    return len < 0 ? mosa_fail(err, MOSA_ENOMEM, "out of memory for a path") : MOSA_OK;
}

// The first part of a split file stands for the whole, the others for nothing.
static bool is_later_split(const char *name) {
    const char *of = strstr(name, "-of-");
    return of && of - name >= 6 && strncmp(of - 6, "-00001", 6) != 0;
}

// The one GGUF model of a folder, or NULL when there is none or more than one.
static char *only_gguf(const char *folder) {
    DIR *dir = opendir(folder);
    char *found = NULL;
    int count = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (!mosa_str_ends_with(entry->d_name, ".gguf") || is_later_split(entry->d_name)) continue;
        if (++count == 1) found = mosa_path_join(folder, entry->d_name);
    }
    if (dir) closedir(dir);
    if (count == 1) return found;
    free(found);
    return NULL;
}

static char *resolve_folder(char *path) {
    if (!mosa_file_is_dir(path)) return path;
    MOSA_AUTO_FREE char *config = mosa_path_join(path, "config.json");
    if (config && mosa_file_exists(config)) return path;
    char *file = only_gguf(path);
    if (!file) return path;
    free(path);
    return file;
}

static char *pulled_path(const char *name, mosa_error *err) {
    MOSA_AUTO_FREE char *home = NULL;
    if (mosa_model_home(&home, err) != MOSA_OK) return NULL;
    if (strncmp(name, "hf:", 3) == 0) name += 3;
    const char *colon = strchr(name, ':');
    int len = colon ? (int)(colon - name) : (int)strlen(name);
    char *path = NULL;
    if (asprintf(&path, "%s/%.*s%s%s", home, len, name, colon ? "/" : "", colon ? colon + 1 : "") < 0) return NULL;
    return path;
}

mosa_status mosa_model_path_find(const char *name, char **out, mosa_error *err) {
    char *path = strdup(name);
    if (path && !mosa_file_exists(path)) {
        free(path);
        path = pulled_path(name, err);
    }
    if (!path) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a path");
    if (!mosa_file_exists(path)) {
        free(path);
        mosa_fail(err, MOSA_ENOTFOUND, "no model \"%s\": neither a file or folder, nor a model that was pulled", name);
        return mosa_hint(err, "give a path, or fetch one with `mosa pull hf:org/name`");
    }
    *out = resolve_folder(path);
    return MOSA_OK;
}

mosa_status mosa_adapter_argument(const char *text, char name[MOSA_ADAPTER_NAME_MAX + 1], const char **path,
                                  mosa_error *err) {
    const char *equals = strchr(text, '=');
    size_t len = equals ? (size_t)(equals - text) : 0;
    if (len == 0 || len > MOSA_ADAPTER_NAME_MAX || !equals[1])
        return mosa_fail(err, MOSA_EINVALID, "adapter '%.200s' is not NAME=PATH", text);
    memcpy(name, text, len);
    name[len] = '\0';
    *path = equals + 1;
    return MOSA_OK;
}
