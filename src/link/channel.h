// One end of a link: a non-blocking stream socket with what has been read and what is still to be written.
//
// Reading hands over complete frames; writing appends frames to `out` and sends as much as the socket takes. Memory is
// bounded: one frame on the way in, `out_limit` bytes on the way out. A peer that does not read hits that limit and the
// channel fails; nothing ever waits for it.
// Thread: the caller's lock guards `out` and mosa_link_channel_flush; `in` belongs to the thread that receives.
#ifndef MOSA_LINK_CHANNEL_H
#define MOSA_LINK_CHANNEL_H

#include "link/frame.h"

typedef struct mosa_link_channel {
    int fd;      // owned; -1 when closed
    mosa_buf in; // bytes read, first frame at in_start
    size_t in_start;
    mosa_buf out; // frames to be sent, first unsent byte at out_start
    size_t out_start;
} mosa_link_channel;

// Takes over `fd` (made non-blocking).
void mosa_link_channel_open(mosa_link_channel *channel, int fd, size_t out_limit);
void mosa_link_channel_close(mosa_link_channel *channel); // closes fd, frees buffers; safe on a closed or zeroed one

// Reads what there is and calls `on_frame` for each complete frame; stops at its first failure. MOSA_EUNAVAILABLE when
// the peer has closed, MOSA_ECORRUPT for a broken stream, MOSA_EIO otherwise.
typedef mosa_status (*mosa_link_frame_fn)(void *user, const mosa_link_frame *frame, mosa_error *err);
mosa_status mosa_link_channel_receive(mosa_link_channel *channel, mosa_link_frame_fn on_frame, void *user,
                                      mosa_error *err) MOSA_MUST_USE;

// Sends as much of `out` as the socket takes now. MOSA_ELIMIT when `out` has overflowed its limit.
mosa_status mosa_link_channel_flush(mosa_link_channel *channel, mosa_error *err) MOSA_MUST_USE;
static inline size_t mosa_link_channel_pending(const mosa_link_channel *channel) {
    return channel->out.len - channel->out_start;
}

#endif
