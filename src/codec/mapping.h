// A whole regular file mapped read-only.
#ifndef MOSA_CODEC_MAPPING_H
#define MOSA_CODEC_MAPPING_H

#include "base/status.h"

typedef struct mosa_mapping {
    void *base;
    size_t len;
} mosa_mapping;

// MOSA_ENOTFOUND, MOSA_EIO, MOSA_EINVALID when it is no regular file, MOSA_ECORRUPT when it is empty; each names
// `path`.
MOSA_MUST_USE mosa_status mosa_mapping_open(const char *path, mosa_mapping *out, mosa_error *err);
void mosa_mapping_close(mosa_mapping *mapping); // safe on a zeroed struct

#endif
