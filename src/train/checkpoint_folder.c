// Folders of checkpoints: names, listing, removal, sums.
#include "base/file.h"
#include "codec/json.h"
#include "train/checkpoint_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

mosa_status mosa_checkpoint_sum(const void *data, size_t bytes, char hex[MOSA_SHA256_HEX], mosa_error *err) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (!EVP_Digest(data, bytes, digest, &len, EVP_sha256(), NULL))
        return mosa_fail(err, MOSA_ENOMEM, "out of memory for a checksum");
    for (unsigned i = 0; i < len && 2 * i + 2 < MOSA_SHA256_HEX; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return MOSA_OK;
}

char *mosa_checkpoint_folder(const char *run, int64_t step) {
    char name[64];
    snprintf(name, sizeof name, "checkpoint-%lld", (long long)step);
    return mosa_path_join(run, name);
}

static bool step_of_name(const char *name, int64_t *step) {
    static const char prefix[] = "checkpoint-";
    if (strncmp(name, prefix, sizeof prefix - 1) != 0) return false;
    const char *digits = name + sizeof prefix - 1;
    return *digits >= '0' && *digits <= '9' && mosa_parse_i64(digits, step);
}

static int compare_steps(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

mosa_status mosa_checkpoint_list(const char *run, int64_t **steps, size_t *count, mosa_error *err) {
    size_t n = 0, capacity = 0;
    int64_t *list = NULL, step;
    DIR *dir = opendir(run);
    if (!dir) return mosa_fail_errno(err, errno, "%s: cannot open", run);
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (!step_of_name(entry->d_name, &step)) continue;
        if (n == capacity) {
            capacity = capacity ? 2 * capacity : 16;
            int64_t *grown = realloc(list, capacity * sizeof *grown);
            if (!grown) {
                free(list);
                closedir(dir);
                return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", run);
            }
            list = grown;
        }
        list[n++] = step;
    }
    closedir(dir);
    if (n) qsort(list, n, sizeof *list, compare_steps);
    *steps = list;
    *count = n;
    return MOSA_OK;
}

mosa_status mosa_checkpoint_remove_folder(const char *folder, mosa_error *err) {
    DIR *dir = opendir(folder);
    if (!dir) return errno == ENOENT ? MOSA_OK : mosa_fail_errno(err, errno, "%s: cannot open", folder);
    int failure = 0;
    for (struct dirent *entry; (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            unlinkat(dirfd(dir), entry->d_name, 0) != 0)
            failure = errno;
    closedir(dir);
    if (!failure && rmdir(folder) != 0) failure = errno;
    return failure ? mosa_fail_errno(err, failure, "%s: cannot remove", folder) : MOSA_OK;
}

mosa_status mosa_checkpoint_remove(const char *run, int64_t step, mosa_error *err) {
    MOSA_AUTO_FREE char *folder = mosa_checkpoint_folder(run, step);
    MOSA_AUTO_FREE char *dead = NULL;
    if (!folder || asprintf(&dead, "%s/.checkpoint-%lld.%ld.old.part", run, (long long)step, (long)getpid()) < 0)
        return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", run);
    if (rename(folder, dead) != 0)
        return errno == ENOENT ? MOSA_OK : mosa_fail_errno(err, errno, "%s: cannot rename", folder);
    return mosa_checkpoint_remove_folder(dead, err);
}

mosa_status mosa_checkpoint_clean(const char *run, mosa_error *err) {
    DIR *dir = opendir(run);
    if (!dir) return mosa_fail_errno(err, errno, "%s: cannot open", run);
    mosa_status status = MOSA_OK;
    for (struct dirent *entry; status == MOSA_OK && (entry = readdir(dir));) {
        mosa_slice name = mosa_slice_of(entry->d_name);
        if (!mosa_slice_starts_with(name, MOSA_SLICE(".checkpoint-")) ||
            !mosa_slice_ends_with(name, MOSA_SLICE(".part")))
            continue;
        MOSA_AUTO_FREE char *folder = mosa_path_join(run, entry->d_name);
        status =
            folder ? mosa_checkpoint_remove_folder(folder, err) : mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", run);
    }
    closedir(dir);
    return status;
}

mosa_status mosa_checkpoint_clear(const char *run, mosa_error *err) {
    MOSA_AUTO_FREE int64_t *steps = NULL;
    size_t count = 0;
    MOSA_TRY(mosa_checkpoint_list(run, &steps, &count, err));
    for (size_t i = 0; i < count; i++) MOSA_TRY(mosa_checkpoint_remove(run, steps[i], err));
    return MOSA_OK;
}

mosa_status mosa_checkpoint_sync_folder(const char *folder, mosa_error *err) {
    MOSA_AUTO(mosa_auto_close) int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) return mosa_fail_errno(err, errno, "%s: cannot sync", folder);
    return MOSA_OK;
}

double mosa_checkpoint_metric_of(const char *run, int64_t step) {
    MOSA_AUTO_JSON json_t *index = NULL;
    MOSA_AUTO_FREE char *folder = mosa_checkpoint_folder(run, step);
    MOSA_AUTO_FREE char *path = folder ? mosa_path_join(folder, "index.json") : NULL;
    if (!path || mosa_json_load(path, NULL, &index, NULL) != MOSA_OK) return NAN;
    const json_t *metric = json_object_get(index, "metric");
    return json_is_number(metric) ? json_number_value(metric) : NAN;
}

uint64_t mosa_checkpoint_bytes(const mosa_params *params, size_t moment_bytes) {
    enum { PER_TENSOR = 700 }; // headers and the index: a weight and two moments
    return (uint64_t)params->n_trained * sizeof(float) + moment_bytes + params->count * PER_TENSOR + 4096;
}
