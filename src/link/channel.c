// One end of a link: buffered, bounded, non-blocking.
#include "link/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 64 << 10, READS_PER_CALL = 16, KEEP_BYTES = 256 << 10 };

void mosa_link_channel_open(mosa_link_channel *channel, int fd, size_t out_limit) {
    *channel = (mosa_link_channel){.fd = fd};
    mosa_buf_init(&channel->in, MOSA_LINK_HEADER_BYTES + (size_t)MOSA_LINK_PAYLOAD_MAX + READ_BYTES);
    mosa_buf_init(&channel->out, out_limit);
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0) (void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

void mosa_link_channel_close(mosa_link_channel *channel) {
    if (channel->fd > 0) close(channel->fd);
    channel->fd = -1;
    mosa_buf_finish(&channel->in);
    mosa_buf_finish(&channel->out);
    channel->in_start = channel->out_start = 0;
}

// Moves what is left to the front; a buffer that one large frame had blown up is given back.
static void compact(mosa_buf *buf, size_t *start) {
    size_t left = buf->len - *start;
    if (left == 0 && buf->capacity > KEEP_BYTES) {
        mosa_buf_finish(buf);
    } else if (*start) {
        memmove(buf->data, buf->data + *start, left);
        buf->len = left;
    }
    *start = 0;
}

static mosa_status take_frames(mosa_link_channel *channel, mosa_link_frame_fn on_frame, void *user, mosa_error *err) {
    for (;;) {
        mosa_link_frame frame;
        size_t used, need;
        size_t left = channel->in.len - channel->in_start;
        MOSA_TRY(mosa_link_frame_parse(channel->in.data + channel->in_start, left, &frame, &used, &need, err));
        if (used == 0) {
            compact(&channel->in, &channel->in_start);
            return MOSA_OK;
        }
        channel->in_start += used;
        MOSA_TRY(on_frame(user, &frame, err));
    }
}

mosa_status mosa_link_channel_receive(mosa_link_channel *channel, mosa_link_frame_fn on_frame, void *user,
                                      mosa_error *err) {
    // A bounded number of reads per call keeps one busy peer from starving the others of this thread.
    for (int reads = 0; reads < READS_PER_CALL; reads++) {
        if (!mosa_buf_reserve(&channel->in, READ_BYTES))
            return mosa_fail(err, MOSA_ENOMEM, "link: no memory for a frame of the peer");
        ssize_t n = recv(channel->fd, channel->in.data + channel->in.len, READ_BYTES, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return MOSA_OK;
        if (n < 0 && errno != ECONNRESET) return mosa_fail_errno(err, errno, "link: reading from the peer");
        if (n <= 0) return mosa_fail(err, MOSA_EUNAVAILABLE, "link: the peer has closed the connection");
        channel->in.len += (size_t)n;
        MOSA_TRY(take_frames(channel, on_frame, user, err));
        if (n < READ_BYTES) return MOSA_OK;
    }
    return MOSA_OK;
}

mosa_status mosa_link_channel_flush(mosa_link_channel *channel, mosa_error *err) {
    if (mosa_buf_failed(&channel->out))
        return mosa_fail(err, MOSA_ELIMIT, "link: the peer does not read, %zu bytes are waiting for it",
                         channel->out.len - channel->out_start);
    while (channel->out_start < channel->out.len) {
        ssize_t n = send(channel->fd, channel->out.data + channel->out_start, channel->out.len - channel->out_start,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
            return mosa_fail(err, MOSA_EUNAVAILABLE, "link: the peer has closed the connection");
        if (n < 0) return mosa_fail_errno(err, errno, "link: writing to the peer");
        channel->out_start += (size_t)n;
    }
    if (channel->out_start == channel->out.len || channel->out_start > KEEP_BYTES)
        compact(&channel->out, &channel->out_start);
    return MOSA_OK;
}
