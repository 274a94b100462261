// Frames and the primitive values inside them: pure functions over buffers, no sockets.
//
// Writers append to a mosa_buf, which remembers failure; readers carry a cursor that remembers failure too, so that a
// message is read field by field and checked once. Everything on the wire is little-endian and unaligned.
// Thread: reentrant.
#ifndef MOSA_LINK_FRAME_H
#define MOSA_LINK_FRAME_H

#include "base/status.h"
#include "base/str.h"
#include "link/protocol.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mosa_link_frame {
    mosa_link_type type;
    uint64_t request;
    const unsigned char *payload; // (len) borrowed
    size_t len;
} mosa_link_frame;

// Takes the first frame from `data`. *used = bytes taken, or 0 when the frame is not complete yet; then *need is how
// many bytes the whole frame will have (at least the header's). MOSA_ECORRUPT for an unknown type, another version, a
// length over the limit or an id over MOSA_LINK_ID_MAX; the stream cannot be used any more then.
mosa_status mosa_link_frame_parse(const void *data, size_t len, mosa_link_frame *frame, size_t *used, size_t *need,
                                  mosa_error *err) MOSA_MUST_USE;

// Starts a frame at the end of `out` and returns its place, for mosa_link_frame_end, which fills in the length.
size_t mosa_link_frame_begin(mosa_buf *out, mosa_link_type type, uint64_t request);
void mosa_link_frame_end(mosa_buf *out, size_t start);
void mosa_link_frame_set_request(char *frame, uint64_t request); // of a frame that is complete
void mosa_link_frame_put(mosa_buf *out, mosa_link_type type, uint64_t request, const void *payload, size_t len);

// --- writing values -------------------------------------------------------------------------------------------------

void mosa_link_put_u8(mosa_buf *out, uint8_t value);
void mosa_link_put_u16(mosa_buf *out, uint16_t value);
void mosa_link_put_u32(mosa_buf *out, uint32_t value);
void mosa_link_put_u64(mosa_buf *out, uint64_t value);
void mosa_link_put_f32(mosa_buf *out, float value);
void mosa_link_put_bytes(mosa_buf *out, const void *data, size_t len); // u32 length, then the bytes

// --- reading values -------------------------------------------------------------------------------------------------

// Reads past the end give 0 and set `failed`; it never looks outside the payload.
typedef struct mosa_link_cursor {
    const unsigned char *at;
    size_t left;
    bool failed;
} mosa_link_cursor;

uint8_t mosa_link_get_u8(mosa_link_cursor *in);
uint16_t mosa_link_get_u16(mosa_link_cursor *in);
uint32_t mosa_link_get_u32(mosa_link_cursor *in);
uint64_t mosa_link_get_u64(mosa_link_cursor *in);
float mosa_link_get_f32(mosa_link_cursor *in);
mosa_slice mosa_link_get_bytes(mosa_link_cursor *in, size_t max); // borrowed; fails when longer than max

// A u32 count of items with at least `item_bytes` each: fails when over `max` or when the payload cannot hold them, so
// that memory is never sized by a lie.
uint32_t mosa_link_get_count(mosa_link_cursor *in, uint32_t max, size_t item_bytes);

#endif
