// Files as a whole. Mappings register themselves with the SIGBUS guard.
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static mosa_status open_regular(const char *path, int *fd, size_t *size, mosa_error *err) {
    struct stat info;
    int opened = open(path, O_RDONLY | O_CLOEXEC);
    if (opened < 0) return mosa_fail_errno(err, errno, "%s", path);
    if (fstat(opened, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(opened);
        return mosa_fail(err, MOSA_EIO, "%s: not a regular file", path);
    }
    *fd = opened;
    *size = (size_t)info.st_size;
    return MOSA_OK;
}

// read(2) until `size` bytes or the end; the bytes got, or -1 with errno.
static ssize_t read_fully(int fd, char *bytes, size_t size) {
    size_t got = 0;
    while (got < size) {
        ssize_t n = read(fd, bytes + got, size - got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (n == 0) break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

mosa_status mosa_file_read(const char *path, size_t limit, char **bytes, size_t *len, mosa_error *err) {
    MOSA_AUTO(mosa_auto_close) int fd = -1;
    size_t size;
    MOSA_TRY(open_regular(path, &fd, &size, err));
    if (size > limit) return mosa_fail(err, MOSA_ELIMIT, "%s: %zu bytes, at most %zu are read", path, size, limit);
    char *buffer = malloc(size + 1);
    if (!buffer) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory for %zu bytes", path, size);
    ssize_t got = read_fully(fd, buffer, size);
    if (got < 0) {
        free(buffer);
        return mosa_fail_errno(err, errno, "%s", path);
    }
    buffer[got] = '\0';
    *bytes = buffer;
    *len = (size_t)got;
    return MOSA_OK;
}

mosa_status mosa_file_map(const char *path, mosa_file_mapping *out, mosa_error *err) {
    MOSA_AUTO(mosa_auto_close) int fd = -1;
    size_t size;
    MOSA_TRY(open_regular(path, &fd, &size, err));
    *out = (mosa_file_mapping){0};
    if (size == 0) return MOSA_OK;
    void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) return mosa_fail_errno(err, errno, "%s: cannot map %zu bytes", path, size);
    *out = (mosa_file_mapping){data, size};
    return MOSA_OK;
}

void mosa_file_unmap(mosa_file_mapping *mapping) {
    if (mapping->data) munmap((void *)mapping->data, mapping->len);
    *mapping = (mosa_file_mapping){0};
}

static mosa_status write_and_sync(int fd, const char *path, const char *bytes, size_t len, mosa_error *err) {
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return mosa_fail_errno(err, errno, "%s", path);
        bytes += n;
        len -= (size_t)n;
    }
    if (fsync(fd) != 0) return mosa_fail_errno(err, errno, "%s", path);
    return MOSA_OK;
}

mosa_status mosa_file_write_atomic(const char *path, const void *bytes, size_t len, mosa_error *err) {
    MOSA_AUTO_FREE char *temporary = NULL;
    if (asprintf(&temporary, "%s.XXXXXX", path) < 0) {
        temporary = NULL;
        return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
    }
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) return mosa_fail_errno(err, errno, "%s", path);
    mosa_status status = write_and_sync(fd, path, bytes, len, err);
    if (fchmod(fd, 0644) != 0 && status == MOSA_OK) status = mosa_fail_errno(err, errno, "%s", path);
    close(fd);
    if (status == MOSA_OK && rename(temporary, path) != 0) status = mosa_fail_errno(err, errno, "%s", path);
    if (status != MOSA_OK) unlink(temporary);
    return status;
}

mosa_status mosa_file_mkdirs(const char *path, mosa_error *err) {
    MOSA_AUTO_FREE char *copy = strdup(path);
    if (!copy) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
    for (char *slash = copy + 1;; slash++) {
        slash = strchrnul(slash, '/');
        char end = *slash;
        *slash = '\0';
        if (mkdir(copy, 0755) != 0 && errno != EEXIST) return mosa_fail_errno(err, errno, "%s", copy);
        if (!end) return MOSA_OK;
        *slash = end;
    }
}

// --- SIGBUS guard -------------------------------------------------------------------------------------------------

enum { GUARDS_MAX = 4096, EXIT_IO_ERROR = 74 };

// A slot is free while `data` is NULL; `data` is written last and cleared first, so the handler sees whole entries.
typedef struct guard {
    _Atomic(const char *) data;
    size_t len;
    const char *path;
} guard;
static guard guards[GUARDS_MAX];

static void say(const char *text) {
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written;
}

static void on_bus_error(int signal_number, siginfo_t *info, void *context) {
    (void)context;
    const char *fault = info->si_addr;
    for (int i = 0; i < GUARDS_MAX; i++) {
        const char *data = atomic_load(&guards[i].data);
        if (!data || fault < data || fault >= data + guards[i].len) continue;
        say("mosa: ");
        say(guards[i].path);
        say(": the file was cut short or became unreadable while it was in use\n");
        _exit(EXIT_IO_ERROR);
    }
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

mosa_status mosa_file_guard_install(mosa_error *err) {
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    if (sigaction(SIGBUS, &action, NULL) != 0) return mosa_fail_errno(err, errno, "cannot install the SIGBUS handler");
    return MOSA_OK;
}

void mosa_file_guard_add(const void *data, size_t len, const char *path) {
    static const char taken;
    for (int i = 0; i < GUARDS_MAX && data; i++) {
        const char *expected = NULL;
        // Claims the slot with an address range of length 0 until it is filled.
        if (!atomic_compare_exchange_strong(&guards[i].data, &expected, &taken)) continue;
        guards[i].len = 0;
        guards[i].path = path;
        atomic_store(&guards[i].data, data);
        guards[i].len = len;
        return;
    }
}

void mosa_file_guard_remove(const void *data) {
    for (int i = 0; i < GUARDS_MAX; i++) {
        const char *expected = data;
        if (data && atomic_compare_exchange_strong(&guards[i].data, &expected, NULL)) return;
    }
}
