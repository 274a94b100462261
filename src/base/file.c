// Reading whole files, folders and paths. Maps are in file_map.c.
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_FIRST_BYTES = 64 << 10 };

// Reads to the end of the file into a growing buffer: the size that stat tells is a hint (pipes and /proc have none).
static mosa_status read_all(int fd, const char *path, size_t limit, size_t capacity, char **bytes, size_t *len,
                            mosa_error *err) {
    size_t used = 0;
    char *data = NULL;
    for (;;) {
        if (!data || used == capacity) {
            if (data) capacity = capacity > limit / 2 ? limit + 1 : capacity * 2;
            char *larger = realloc(data, capacity + 1);
            if (!larger) {
                free(data);
                return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory for %zu bytes", path, capacity);
            }
            data = larger;
        }
        ssize_t got = read(fd, data + used, capacity - used);
        if (got < 0 && errno == EINTR) continue;
        if (got == 0) break;
        if (got > 0 && (used += (size_t)got) <= limit) continue;
        int failure = errno;
        free(data);
        if (got < 0) return mosa_fail_errno(err, failure, "%s: cannot read", path);
        return mosa_fail(err, MOSA_ELIMIT, "%s: more than %zu bytes", path, limit);
    }
    data[used] = '\0';
    *bytes = data;
    *len = used;
    return MOSA_OK;
}

mosa_status mosa_file_read(const char *path, size_t limit, char **bytes, size_t *len, mosa_error *err) {
    if (limit > SIZE_MAX / 4) limit = SIZE_MAX / 4;
    MOSA_AUTO(mosa_auto_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return mosa_fail_errno(err, errno, "%s: cannot open", path);
    struct stat info;
    if (fstat(fd, &info) != 0) return mosa_fail_errno(err, errno, "%s: cannot stat", path);
    size_t size = S_ISREG(info.st_mode) ? (size_t)info.st_size : 0;
    if (size > limit) return mosa_fail(err, MOSA_ELIMIT, "%s: %zu bytes, at most %zu are read", path, size, limit);
    // One byte more than expected, so that the read that meets the end needs no larger buffer.
    size_t capacity = size ? size + 1 : limit < READ_FIRST_BYTES ? limit + 1 : READ_FIRST_BYTES;
    return read_all(fd, path, limit, capacity, bytes, len, err);
}

mosa_status mosa_file_mkdirs(const char *path, mosa_error *err) {
    if (!*path) return mosa_fail(err, MOSA_EINVALID, "a folder needs a name");
    MOSA_AUTO_FREE char *prefix = strdup(path);
    if (!prefix) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
    for (char *slash = prefix; slash;) {
        slash = strchr(slash + 1, '/');
        if (slash) *slash = '\0';
        if (mkdir(prefix, 0777) != 0 && !mosa_file_is_dir(prefix))
            return mosa_fail_errno(err, errno, "%s: cannot create folder", prefix);
        if (slash) *slash = '/';
    }
    return MOSA_OK;
}

bool mosa_file_exists(const char *path) {
    return access(path, F_OK) == 0;
}

bool mosa_file_is_dir(const char *path) {
    struct stat info;
    int saved = errno;
    bool is_dir = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    errno = saved;
    return is_dir;
}

char *mosa_path_join(const char *folder, const char *name) {
    size_t len = strlen(folder);
    while (len > 1 && folder[len - 1] == '/') len--;
    char *path = NULL;
    int done = name[0] == '/' || len == 0 ? asprintf(&path, "%s", name)
               : folder[len - 1] == '/'   ? asprintf(&path, "/%s", name)
                                          : asprintf(&path, "%.*s/%s", (int)len, folder, name);
    return done < 0 ? NULL : path;
}

char *mosa_path_stem(const char *path, const char *suffix) {
    size_t len = strlen(path), cut = strlen(suffix);
    while (len > 1 && path[len - 1] == '/') len--;
    size_t begin = len;
    while (begin > 0 && path[begin - 1] != '/') begin--;
    if (len - begin > cut && memcmp(path + len - cut, suffix, cut) == 0) len -= cut;
    return strndup(path + begin, len - begin);
}

const char *mosa_path_base(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
