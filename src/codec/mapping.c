// Read-only file mappings for the weight-file readers.
#include "codec/mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

mosa_status mosa_mapping_open(const char *path, mosa_mapping *out, mosa_error *err) {
    // Without O_NONBLOCK, opening a named pipe would wait for a writer before we can see that it is no file.
    MOSA_AUTO(mosa_auto_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat info;
    if (fd < 0) return mosa_fail_errno(err, errno, "%s: cannot open", path);
    if (fstat(fd, &info) != 0) return mosa_fail_errno(err, errno, "%s: cannot read its size", path);
    if (!S_ISREG(info.st_mode)) return mosa_fail(err, MOSA_EINVALID, "%s: not a regular file", path);
    if (info.st_size == 0) return mosa_fail(err, MOSA_ECORRUPT, "%s: the file is empty", path);
    void *base = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) return mosa_fail_errno(err, errno, "%s: cannot map", path);
    *out = (mosa_mapping){base, (size_t)info.st_size};
    return MOSA_OK;
}

void mosa_mapping_close(mosa_mapping *mapping) {
    if (mapping->base) munmap(mapping->base, mapping->len);
    *mapping = (mosa_mapping){0};
}
