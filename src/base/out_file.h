// A file that appears whole or not at all: written under a temporary name, fsynced, renamed into place.
//
// Errors of the operating system name the final path. Thread: one at a time.
#ifndef MOSA_BASE_OUT_FILE_H
#define MOSA_BASE_OUT_FILE_H

#include "base/status.h"

#include <stdint.h>

typedef struct mosa_out_file mosa_out_file;

MOSA_MUST_USE mosa_status mosa_out_file_create(const char *path, mosa_out_file **out, mosa_error *err);
MOSA_MUST_USE mosa_status mosa_out_file_write(mosa_out_file *file, const void *data, size_t bytes, mosa_error *err);
uint64_t mosa_out_file_size(const mosa_out_file *file); // bytes written so far
MOSA_MUST_USE mosa_status mosa_out_file_commit(mosa_out_file *file, mosa_error *err);
void mosa_out_file_destroy(mosa_out_file *file); // NULL-safe; removes the temporary file unless committed

// All of the above for bytes at hand.
MOSA_MUST_USE mosa_status mosa_out_file_save(const char *path, const void *data, size_t bytes, mosa_error *err);

#endif
