// Adapters on the wire: ADAPTER asks, ADAPTER_DONE answers with the same words and what came of them.
#include "link/message.h"
#include "link/message_internal.h"

#include <string.h>

static void put_words(mosa_buf *out, const mosa_link_adapter *adapter) {
    mosa_link_put_u8(out, adapter->load);
    mosa_link_put_bytes(out, adapter->name, strlen(adapter->name));
    mosa_link_put_bytes(out, adapter->path, strlen(adapter->path));
}

// Texts without an inner NUL: both ends take them as C strings.
static void get_text(mosa_link_cursor *in, char *to, size_t max) {
    mosa_slice text = mosa_link_get_bytes(in, max);
    if (text.len && memchr(text.data, '\0', text.len)) in->failed = true;
    if (in->failed) return;
    memcpy(to, text.data, text.len);
    to[text.len] = '\0';
}

static void get_words(mosa_link_cursor *in, mosa_link_adapter *adapter) {
    uint8_t load = mosa_link_get_u8(in);
    if (load > 1) in->failed = true;
    adapter->load = load == 1;
    get_text(in, adapter->name, MOSA_ADAPTER_NAME_MAX);
    get_text(in, adapter->path, MOSA_LINK_PATH_MAX);
}

void mosa_link_put_adapter(mosa_buf *out, uint64_t id, const mosa_link_adapter *adapter) {
    size_t start = mosa_link_frame_begin(out, MOSA_LINK_ADAPTER, id);
    put_words(out, adapter);
    mosa_link_frame_end(out, start);
}

mosa_status mosa_link_get_adapter(const mosa_link_frame *frame, mosa_link_adapter *out, mosa_error *err) {
    mosa_link_cursor in = {frame->payload, frame->len, false};
    mosa_link_adapter adapter = {.load = false};
    get_words(&in, &adapter);
    if (in.failed || in.left)
        return mosa_fail(err, MOSA_ECORRUPT, "link message: ADAPTER is cut off, or its name or path is too long");
    *out = adapter;
    return MOSA_OK;
}

void mosa_link_put_adapter_done(mosa_buf *out, uint64_t id, const mosa_link_adapter_done *done) {
    size_t start = mosa_link_frame_begin(out, MOSA_LINK_ADAPTER_DONE, id);
    put_words(out, &done->adapter);
    mosa_link_put_u32(out, (uint32_t)done->rank);
    mosa_link_put_u64(out, (uint64_t)done->bytes);
    mosa_link_put_u8(out, done->error.status != MOSA_OK);
    if (done->error.status != MOSA_OK) mosa_link_put_error_body(out, &done->error);
    mosa_link_frame_end(out, start);
}

mosa_status mosa_link_get_adapter_done(const mosa_link_frame *frame, mosa_link_adapter_done *out, mosa_error *err) {
    mosa_link_cursor in = {frame->payload, frame->len, false};
    mosa_link_adapter_done done = {.rank = 0};
    get_words(&in, &done.adapter);
    done.rank = (int)mosa_link_get_u32(&in);
    done.bytes = (int64_t)mosa_link_get_u64(&in);
    if (mosa_link_get_u8(&in)) mosa_link_get_error_body(&in, &done.error);
    if (in.failed || in.left || done.rank < 0 || done.bytes < 0)
        return mosa_fail(err, MOSA_ECORRUPT, "link message: ADAPTER_DONE is cut off or names no status");
    *out = done;
    return MOSA_OK;
}
