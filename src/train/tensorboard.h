// TensorBoard event files: scalars that `tensorboard --logdir RUN` shows.
//
// A file is a sequence of records: length u64 LE, its masked CRC-32C, the bytes of an Event (protobuf), their masked
// CRC-32C; masked = ((c >> 15) | (c << 17)) + 0xa282ead8. An Event has wall_time (1, double), step (2, int64) and
// file_version (3) or summary (5) or session_log (7). Each record is one write(2), so that a crash leaves whole ones.
// Source: tensorflow/core/lib/io/record_writer.cc, core/util/event.proto, core/framework/summary.proto.
// Thread: one at a time.
#ifndef MOSA_TRAIN_TENSORBOARD_H
#define MOSA_TRAIN_TENSORBOARD_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct mosa_tensorboard mosa_tensorboard;

typedef struct mosa_scalar {
    const char *tag; // "train/loss"
    double value;
} mosa_scalar;

// Begins a new file "events.out.tfevents.<seconds>.<host>.<pid>.<n>" in `folder`, which must exist. `first_step` > 0
// says that the run goes on from there: what earlier files hold of that step and later is not shown any more.
MOSA_MUST_USE mosa_status mosa_tensorboard_open(const char *folder, int64_t first_step, mosa_tensorboard **out,
                                                mosa_error *err);
void mosa_tensorboard_close(mosa_tensorboard *board); // NULL-safe

MOSA_MUST_USE mosa_status mosa_tensorboard_add(mosa_tensorboard *board, int64_t step, const mosa_scalar *scalars,
                                               size_t count, mosa_error *err);

uint32_t mosa_crc32c(const void *data, size_t bytes); // Castagnoli, as in RFC 3720

#endif
