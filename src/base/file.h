// Whole files: reading small ones, mapping large ones, replacing one atomically.
#ifndef MOSA_BASE_FILE_H
#define MOSA_BASE_FILE_H

#include "base/status.h"

#include <stddef.h>

// Reads a file of at most `limit` bytes. *bytes is malloc'ed and NUL-terminated behind *len bytes; the caller frees it.
// MOSA_ENOTFOUND, MOSA_EIO, MOSA_ELIMIT, MOSA_ENOMEM; each names the path.
mosa_status mosa_file_read(const char *path, size_t limit, char **bytes, size_t *len, mosa_error *err);

// Maps a file read-only. An empty file gives {NULL, 0}. The mapping is the caller's: mosa_file_unmap.
typedef struct mosa_file_mapping {
    const void *data;
    size_t len;
} mosa_file_mapping;
mosa_status mosa_file_map(const char *path, mosa_file_mapping *out, mosa_error *err);
void mosa_file_unmap(mosa_file_mapping *mapping); // safe on a zeroed struct

// Writes bytes to a temporary file beside `path`, syncs, and renames it into place: readers see the old or the new file.
mosa_status mosa_file_write_atomic(const char *path, const void *bytes, size_t len, mosa_error *err);

// Creates a folder and its missing parents (mode 0755).
mosa_status mosa_file_mkdirs(const char *path, mosa_error *err);

// A file that is cut short while it is mapped raises SIGBUS at the next touch. Guarded mappings turn that into one line
// that names the file, on stderr, and exit code 74 (EX_IOERR). Process-wide by nature of signals; called by main.
mosa_status mosa_file_guard_install(mosa_error *err);
void mosa_file_guard_add(const void *data, size_t len, const char *path); // path is borrowed until removed
void mosa_file_guard_remove(const void *data);

#endif
