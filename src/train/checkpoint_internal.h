// What the reader and the writer of checkpoints share: names of files and folders, and sums.
#ifndef MOSA_TRAIN_CHECKPOINT_INTERNAL_H
#define MOSA_TRAIN_CHECKPOINT_INTERNAL_H

#include "train/checkpoint_saver.h"

enum { MOSA_CHECKPOINT_VERSION = 1, MOSA_SHA256_HEX = 65 };

#define MOSA_CHECKPOINT_FORMAT "mosa-checkpoint"

// Lower-case SHA-256 of bytes, NUL-terminated. MOSA_ENOMEM.
mosa_status mosa_checkpoint_sum(const void *data, size_t bytes, char hex[MOSA_SHA256_HEX], mosa_error *err);

// "<run>/checkpoint-<step>", malloc'ed. NULL on out-of-memory.
char *mosa_checkpoint_folder(const char *run, int64_t step);

// Removes a folder of plain files by way of a name that no reader takes, so that a crash leaves no half of it.
mosa_status mosa_checkpoint_remove(const char *run, int64_t step, mosa_error *err);
mosa_status mosa_checkpoint_remove_folder(const char *folder, mosa_error *err);
// Removes what crashes left: folders named ".checkpoint-*.part".
mosa_status mosa_checkpoint_clean(const char *run, mosa_error *err);

// The metric in a folder's index.json; NaN when there is none or it cannot be read.
double mosa_checkpoint_metric_of(const char *run, int64_t step);

mosa_status mosa_checkpoint_sync_folder(const char *folder, mosa_error *err);

// Writes one checkpoint and makes it visible. Calls settled(arg) once, when the tensors have been read or on failure.
mosa_status mosa_checkpoint_write(const char *run, const mosa_checkpoint_content *content, const char *state,
                                  void (*settled)(void *arg), void *arg, mosa_error *err);

#endif
