// Whole-file maps, and the guard that turns a fault inside one into a message.
//
// The guard's table is the process's own, because a signal handler has nothing else to look into. A slot is claimed by
// `state`, and published by storing `begin` last; the handler only reads.
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

enum { GUARD_SLOTS = 512, GUARD_PATH_MAX = 256 };

typedef struct guard_slot {
    _Atomic bool claimed;
    _Atomic uintptr_t begin; // 0 = not published
    uintptr_t end;
    char path[GUARD_PATH_MAX];
} guard_slot;

static guard_slot guard_slots[GUARD_SLOTS];

// A map beyond the table's size is simply not guarded.
static int guard_add(const mosa_file_map *map) {
    for (int i = 0; i < GUARD_SLOTS; i++) {
        guard_slot *slot = &guard_slots[i];
        bool free_slot = false;
        if (!atomic_compare_exchange_strong(&slot->claimed, &free_slot, true)) continue;
        slot->end = (uintptr_t)map->data + map->size;
        snprintf(slot->path, sizeof slot->path, "%s", map->path);
        atomic_store_explicit(&slot->begin, (uintptr_t)map->data, memory_order_release);
        return i;
    }
    return -1;
}

static void guard_remove(int slot) {
    if (slot < 0) return;
    atomic_store(&guard_slots[slot].begin, 0);
    atomic_store(&guard_slots[slot].claimed, false);
}

static void write_text(const char *text) {
    ssize_t ignored = write(STDERR_FILENO, text, strlen(text));
    (void)ignored;
}

// Async-signal-safe: reads the table, writes, exits.
static void on_bus_error(int signal_number, siginfo_t *info, void *context) {
    (void)context;
    uintptr_t address = (uintptr_t)info->si_addr;
    for (int i = 0; i < GUARD_SLOTS; i++) {
        const guard_slot *slot = &guard_slots[i];
        uintptr_t begin = atomic_load_explicit(&slot->begin, memory_order_acquire);
        if (begin == 0 || address < begin || address >= slot->end) continue;
        write_text("mosa: ");
        write_text(slot->path);
        write_text(": the file was cut short or its disk failed while it was in use\n");
        _exit(MOSA_FILE_GUARD_EXIT);
    }
    signal(signal_number, SIG_DFL); // the faulting instruction runs again and has its way
}

void mosa_file_guard_install(void) {
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
}

static mosa_status map_bytes(mosa_file_map *map, mosa_error *err) {
    struct stat info;
    if (fstat(map->fd, &info) != 0) return mosa_fail_errno(err, errno, "%s: cannot stat", map->path);
    if (!S_ISREG(info.st_mode)) return mosa_fail(err, MOSA_EINVALID, "%s: not a regular file", map->path);
    map->size = (size_t)info.st_size;
    if (map->size == 0) return MOSA_OK;
    void *data = mmap(NULL, map->size, PROT_READ, MAP_SHARED, map->fd, 0);
    if (data == MAP_FAILED) return mosa_fail_errno(err, errno, "%s: cannot map %zu bytes", map->path, map->size);
    map->data = data;
    map->guard = guard_add(map);
    return MOSA_OK;
}

mosa_status mosa_file_map_open(const char *path, mosa_file_map *map, mosa_error *err) {
    mosa_file_map opened = {.guard = -1, .fd = -1, .path = strdup(path)};
    if (!opened.path) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", path);
    // Not to hang on a pipe that nobody writes to.
    opened.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    mosa_status status = opened.fd < 0 ? mosa_fail_errno(err, errno, "%s: cannot open", path) : map_bytes(&opened, err);
    if (status != MOSA_OK) {
        mosa_file_map_close(&opened);
        return status;
    }
    *map = opened;
    return MOSA_OK;
}

void mosa_file_map_close(mosa_file_map *map) {
    if (!map->path) return;
    guard_remove(map->guard);
    if (map->data) munmap((void *)map->data, map->size);
    if (map->fd >= 0) close(map->fd);
    free(map->path);
    *map = (mosa_file_map){.guard = -1, .fd = -1};
}

mosa_status mosa_file_map_verify(const mosa_file_map *map, mosa_error *err) {
    struct stat info;
    if (fstat(map->fd, &info) != 0) return mosa_fail_errno(err, errno, "%s: cannot stat", map->path);
    if ((uint64_t)info.st_size >= map->size) return MOSA_OK;
    return mosa_fail(err, MOSA_ECORRUPT, "%s: %lld bytes, was %zu when it was opened", map->path,
                     (long long)info.st_size, map->size);
}
