// Protobuf by hand: the five fields that scalars need.
#include "train/tensorboard.h"

#include "base/clock.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct mosa_tensorboard {
    int fd;
    char *path;
};

uint32_t mosa_crc32c(const void *data, size_t bytes) {
    const unsigned char *p = data;
    uint32_t crc = ~0u;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (0x82f63b78u & -(crc & 1));
    }
    return ~crc;
}

static uint32_t masked(const void *data, size_t bytes) {
    uint32_t crc = mosa_crc32c(data, bytes);
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

// --- protobuf -----------------------------------------------------------------------------------------------------

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

static void put_varint(mosa_buf *out, uint64_t value) {
    for (; value >= 0x80; value >>= 7) mosa_buf_append_char(out, (char)(value | 0x80));
    mosa_buf_append_char(out, (char)value);
}

static void put_key(mosa_buf *out, unsigned field, unsigned kind) {
    put_varint(out, field << 3 | kind);
}

static void put_bytes(mosa_buf *out, unsigned field, mosa_slice bytes) {
    put_key(out, field, BYTES);
    put_varint(out, bytes.len);
    mosa_buf_append_slice(out, bytes);
}

static void begin_event(mosa_buf *out, int64_t step) {
    double wall = (double)mosa_clock_real_ns() * 1e-9;
    put_key(out, 1, FIXED64);
    mosa_buf_append(out, &wall, sizeof wall);
    put_key(out, 2, VARINT);
    put_varint(out, (uint64_t)step);
}

static void put_value(mosa_buf *summary, const mosa_scalar *scalar) {
    mosa_buf value = {0};
    float number = (float)scalar->value;
    put_bytes(&value, 1, mosa_slice_of(scalar->tag));
    put_key(&value, 2, FIXED32);
    mosa_buf_append(&value, &number, sizeof number);
    put_bytes(summary, 1, mosa_buf_slice(&value));
    if (mosa_buf_failed(&value)) summary->failed = true;
    mosa_buf_finish(&value);
}

// --- records ------------------------------------------------------------------------------------------------------

static mosa_status write_record(mosa_tensorboard *board, const mosa_buf *event, mosa_error *err) {
    mosa_buf record = {0};
    uint64_t len = event->len;
    uint32_t len_sum = masked(&len, sizeof len), sum = masked(event->data, event->len);
    mosa_buf_append(&record, &len, sizeof len);
    mosa_buf_append(&record, &len_sum, sizeof len_sum);
    mosa_buf_append(&record, event->data, event->len);
    mosa_buf_append(&record, &sum, sizeof sum);
    mosa_status status = MOSA_OK;
    if (event->failed || mosa_buf_failed(&record))
        status = mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", board->path);
    else if (write(board->fd, record.data, record.len) != (ssize_t)record.len)
        status = mosa_fail_errno(err, errno, "%s: cannot write", board->path);
    mosa_buf_finish(&record);
    return status;
}

static mosa_status write_head(mosa_tensorboard *board, int64_t first_step, mosa_error *err) {
    mosa_buf event = {0};
    begin_event(&event, 0);
    put_bytes(&event, 3, MOSA_SLICE("brain.Event:2"));
    mosa_status status = write_record(board, &event, err);
    if (status == MOSA_OK && first_step > 0) {
        mosa_buf_clear(&event);
        begin_event(&event, first_step);
        put_bytes(&event, 7, MOSA_SLICE("\x08\x01")); // SessionLog.status START
        status = write_record(board, &event, err);
    }
    mosa_buf_finish(&event);
    return status;
}

mosa_status mosa_tensorboard_open(const char *folder, int64_t first_step, mosa_tensorboard **out, mosa_error *err) {
    static _Atomic unsigned files;
    char host[65] = "localhost";
    if (gethostname(host, sizeof host - 1) != 0) snprintf(host, sizeof host, "localhost");
    mosa_tensorboard *board = calloc(1, sizeof *board);
    if (!board) return mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", folder);
    board->fd = -1;
    mosa_status status;
    if (asprintf(&board->path, "%s/events.out.tfevents.%lld.%s.%ld.%u", folder, (long long)mosa_clock_real_s(), host,
                 (long)getpid(), atomic_fetch_add(&files, 1)) < 0) {
        board->path = NULL;
        status = mosa_fail(err, MOSA_ENOMEM, "%s: out of memory", folder);
        goto fail;
    }
    board->fd = open(board->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (board->fd < 0) {
        status = mosa_fail_errno(err, errno, "%s: cannot create", board->path);
        goto fail;
    }
    MOSA_TRY_GOTO(write_head(board, first_step, err), fail);
    *out = board;
    return MOSA_OK;
fail:
    mosa_tensorboard_close(board);
    return status;
}

void mosa_tensorboard_close(mosa_tensorboard *board) {
    if (!board) return;
    if (board->fd >= 0) close(board->fd);
    free(board->path);
    free(board);
}

mosa_status mosa_tensorboard_add(mosa_tensorboard *board, int64_t step, const mosa_scalar *scalars, size_t count,
                                 mosa_error *err) {
    mosa_buf event = {0}, summary = {0};
    for (size_t i = 0; i < count; i++) put_value(&summary, &scalars[i]);
    begin_event(&event, step);
    put_bytes(&event, 5, mosa_buf_slice(&summary));
    if (mosa_buf_failed(&summary)) event.failed = true;
    mosa_status status = write_record(board, &event, err);
    mosa_buf_finish(&event);
    mosa_buf_finish(&summary);
    return status;
}
