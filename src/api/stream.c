// HTTP/1.1 chunks written straight to a socket.
#include "api/stream.h"
#include "api/http.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

enum { CHUNK_HEAD = 8, KEEP_BYTES = 16 << 10 }; // "0001a2\r\n": leading zeros are part of the grammar

void mosa_stream_open_chunk(mosa_call *call) {
    bool framed = call->state == MOSA_CALL_HEAD || call->state == MOSA_CALL_DIRECT;
    if (call->chunk_open || !call->stream || !framed || call->http->http10) return;
    call->chunk_start = call->out.len;
    call->chunk_open = true;
    mosa_buf_append(&call->out, "000000\r\n", CHUNK_HEAD);
}

void mosa_stream_close_chunk(mosa_call *call) {
    if (!call->chunk_open || mosa_buf_failed(&call->out)) return;
    call->chunk_open = false;
    size_t len = call->out.len - call->chunk_start - CHUNK_HEAD;
    if (len == 0) {
        call->out.len = call->chunk_start;
        return;
    }
    char digits[CHUNK_HEAD];
    snprintf(digits, sizeof digits, "%06x", (unsigned)len);
    memcpy(call->out.data + call->chunk_start, digits, 6);
    mosa_buf_append(&call->out, "\r\n", 2);
}

mosa_stream_result mosa_stream_send(mosa_call *call, int fd) {
    mosa_buf *out = &call->out;
    if (mosa_buf_failed(out)) return MOSA_STREAM_BROKEN;
    while (call->out_start < out->len) {
        ssize_t n = send(fd, out->data + call->out_start, out->len - call->out_start, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return MOSA_STREAM_BLOCKED;
        if (n < 0) return MOSA_STREAM_BROKEN;
        call->out_start += (size_t)n;
    }
    call->out_start = 0;
    if (out->capacity > KEEP_BYTES)
        mosa_buf_finish(out);
    else
        mosa_buf_clear(out);
    return MOSA_STREAM_SENT;
}
