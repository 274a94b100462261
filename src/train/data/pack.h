// Best-fit packing: lengths into bins of one capacity.
//
// Lengths are taken from the longest down, of equal ones the first; each goes into the fullest bin that has room for
// it, or into a new one. The result depends on the arguments alone. Thread: an object belongs to one thread at a time.
#ifndef MOSA_TRAIN_DATA_PACK_H
#define MOSA_TRAIN_DATA_PACK_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct mosa_packer mosa_packer;

// Lengths are 1 .. capacity, at most max_items a call; max_units of them in a bin (0 = any number).
MOSA_MUST_USE mosa_status mosa_packer_create(int32_t capacity, size_t max_items, int32_t max_units, mosa_packer **out,
                                             mosa_error *err);
void mosa_packer_destroy(mosa_packer *packer); // NULL-safe

// Sets bins[i], the bin of length i, for n lengths; bins are numbered from 0 in order of their first item. Returns how
// many there are.
size_t mosa_packer_run(mosa_packer *packer, const int32_t *lengths, size_t n, uint32_t *bins);

#endif
