// Files: whole-file maps and reads, folders and paths. Writing a file atomically is base/out_file.h.
//
// Errors of the operating system name the path. Thread-safe; a map belongs to whoever opened it and is read-only.
#ifndef MOSA_BASE_FILE_H
#define MOSA_BASE_FILE_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// --- maps -------------------------------------------------------------------------------------------------------

typedef struct mosa_file_map {
    const unsigned char *data; // (size) page-aligned; NULL for an empty file
    size_t size;               // bytes, as the file was when it was opened
    char *path;
    int fd;    // kept, to see whether the file has shrunk
    int guard; // slot of the guard, or -1
} mosa_file_map;

// Maps a regular file read-only. *map is the caller's storage, written on success; close releases it.
// MOSA_ENOTFOUND, MOSA_EIO, MOSA_EINVALID (not a regular file), MOSA_ENOMEM.
MOSA_MUST_USE mosa_status mosa_file_map_open(const char *path, mosa_file_map *map, mosa_error *err);
void mosa_file_map_close(mosa_file_map *map); // safe on a zeroed struct, and twice
// MOSA_ECORRUPT when the file is now shorter than the map: reading on would fault. A check, not a guarantee.
MOSA_MUST_USE mosa_status mosa_file_map_verify(const mosa_file_map *map, mosa_error *err);

// Exit code of a process whose mapped file was truncated under it (EX_IOERR of sysexits.h).
enum { MOSA_FILE_GUARD_EXIT = 74 };
// Installs a SIGBUS handler for the process: a fault inside an open map prints one line naming the file and ends the
// process with MOSA_FILE_GUARD_EXIT; any other SIGBUS has its default effect. For programs (main), not for libraries.
void mosa_file_guard_install(void);

// --- whole files and folders --------------------------------------------------------------------------------------

// Reads a whole file of at most `limit` bytes. *bytes is malloc'ed with a NUL after *len bytes; the caller frees it.
// Works for pipes too. MOSA_ENOTFOUND, MOSA_EIO, MOSA_ELIMIT (over `limit`), MOSA_ENOMEM.
MOSA_MUST_USE mosa_status mosa_file_read(const char *path, size_t limit, char **bytes, size_t *len, mosa_error *err);

// Creates a folder and its missing parents (mode 0777 less the umask). An existing folder is fine.
MOSA_MUST_USE mosa_status mosa_file_mkdirs(const char *path, mosa_error *err);

bool mosa_file_exists(const char *path);
bool mosa_file_is_dir(const char *path);

// "folder/name" with one slash between; an absolute name stands alone. malloc'ed; NULL on out-of-memory.
char *mosa_path_join(const char *folder, const char *name);
// The last part of a path, without slashes at its end and without `suffix`: "name" of "a/name.gguf" and of "a/name/".
// malloc'ed; NULL on out-of-memory.
char *mosa_path_stem(const char *path, const char *suffix);
const char *mosa_path_base(const char *path); // what follows the last slash; borrowed from path

#endif
