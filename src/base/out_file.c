// Buffered output under a temporary name; commit makes it durable, then visible.
#include "base/out_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OUT_BUFFER_BYTES = 1 << 20 };

struct mosa_out_file {
    int fd; // -1 once committed
    uint64_t size;
    size_t used;
    char *path, *temporary;
    unsigned char buffer[OUT_BUFFER_BYTES];
};

mosa_status mosa_out_file_create(const char *path, mosa_out_file **out, mosa_error *err) {
    mosa_status status = MOSA_OK;
    mosa_out_file *file = calloc(1, sizeof *file);
    if (!file) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
    file->fd = -1;
    file->path = strdup(path);
    if (asprintf(&file->temporary, "%s.%ld.part", path, (long)getpid()) < 0) file->temporary = NULL;
    if (!file->path || !file->temporary) {
        status = mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
        goto fail;
    }
    file->fd = open(file->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file->fd < 0) {
        status = mosa_fail_errno(err, errno, "%s: cannot create", path);
        goto fail;
    }
    *out = file;
    return MOSA_OK;
fail:
    mosa_out_file_destroy(file);
    return status;
}

static mosa_status write_all(mosa_out_file *file, const unsigned char *data, size_t bytes, mosa_error *err) {
    while (bytes > 0) {
        ssize_t done = write(file->fd, data, bytes);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return mosa_fail_errno(err, errno, "%s: cannot write", file->path);
        data += done;
        bytes -= (size_t)done;
    }
    return MOSA_OK;
}

static mosa_status flush(mosa_out_file *file, mosa_error *err) {
    size_t used = file->used;
    file->used = 0;
    return write_all(file, file->buffer, used, err);
}

mosa_status mosa_out_file_write(mosa_out_file *file, const void *data, size_t bytes, mosa_error *err) {
    if (bytes > OUT_BUFFER_BYTES - file->used) MOSA_TRY(flush(file, err));
    if (bytes >= OUT_BUFFER_BYTES) {
        MOSA_TRY(write_all(file, data, bytes, err));
    } else if (bytes > 0) {
        memcpy(file->buffer + file->used, data, bytes);
        file->used += bytes;
    }
    file->size += bytes;
    return MOSA_OK;
}

uint64_t mosa_out_file_size(const mosa_out_file *file) {
    return file->size;
}

// A rename is durable only once its folder is.
static mosa_status sync_folder(const char *path, mosa_error *err) {
    MOSA_AUTO_FREE char *copy = strdup(path);
    if (!copy) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
    MOSA_AUTO(mosa_auto_close) int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) return mosa_fail_errno(err, errno, "%s: cannot sync its folder", path);
    return MOSA_OK;
}

mosa_status mosa_out_file_commit(mosa_out_file *file, mosa_error *err) {
    MOSA_TRY(flush(file, err));
    if (fsync(file->fd) != 0) return mosa_fail_errno(err, errno, "%s: cannot sync", file->path);
    int fd = file->fd;
    if (rename(file->temporary, file->path) != 0)
        return mosa_fail_errno(err, errno, "%s: cannot rename into place", file->path);
    file->fd = -1;
    if (close(fd) != 0) return mosa_fail_errno(err, errno, "%s: cannot close", file->path);
    return sync_folder(file->path, err);
}

void mosa_out_file_destroy(mosa_out_file *file) {
    if (!file) return;
    if (file->fd >= 0) {
        close(file->fd);
        unlink(file->temporary);
    }
    free(file->path);
    free(file->temporary);
    free(file);
}

static void auto_destroy(mosa_out_file **file) {
    mosa_out_file_destroy(*file);
}

mosa_status mosa_out_file_save(const char *path, const void *data, size_t bytes, mosa_error *err) {
    MOSA_AUTO(auto_destroy) mosa_out_file *file = NULL;
    MOSA_TRY(mosa_out_file_create(path, &file, err));
    MOSA_TRY(mosa_out_file_write(file, data, bytes, err));
    return mosa_out_file_commit(file, err);
}
