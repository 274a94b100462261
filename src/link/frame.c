// Frames and the primitive values inside them.
#include "link/frame.h"

#include <endian.h>
#include <string.h>

mosa_status mosa_link_frame_parse(const void *data, size_t len, mosa_link_frame *frame, size_t *used, size_t *need,
                                  mosa_error *err) {
    *used = 0;
    *need = MOSA_LINK_HEADER_BYTES;
    if (len < MOSA_LINK_HEADER_BYTES) return MOSA_OK;
    mosa_link_cursor in = {data, len, false};
    uint32_t payload = mosa_link_get_u32(&in);
    uint16_t type = mosa_link_get_u16(&in);
    uint16_t version = mosa_link_get_u16(&in);
    uint64_t request = mosa_link_get_u64(&in);
    if (version != MOSA_LINK_VERSION)
        return mosa_fail(err, MOSA_ECORRUPT, "link frame: protocol version %u, this side speaks %d", version,
                         MOSA_LINK_VERSION);
    if (type < MOSA_LINK_HELLO || type > MOSA_LINK_ADAPTER_DONE)
        return mosa_fail(err, MOSA_ECORRUPT, "link frame: unknown type %u", type);
    if (payload > MOSA_LINK_PAYLOAD_MAX)
        return mosa_fail(err, MOSA_ECORRUPT, "link frame: payload of %u bytes exceeds %d", payload,
                         MOSA_LINK_PAYLOAD_MAX);
    if (request > MOSA_LINK_ID_MAX) return mosa_fail(err, MOSA_ECORRUPT, "link frame: request id out of range");
    *need = MOSA_LINK_HEADER_BYTES + (size_t)payload;
    if (len < *need) return MOSA_OK;
    *frame = (mosa_link_frame){(mosa_link_type)type, request, in.at, payload};
    *used = *need;
    return MOSA_OK;
}

size_t mosa_link_frame_begin(mosa_buf *out, mosa_link_type type, uint64_t request) {
    size_t start = out->len;
    mosa_link_put_u32(out, 0);
    mosa_link_put_u16(out, (uint16_t)type);
    mosa_link_put_u16(out, MOSA_LINK_VERSION);
    mosa_link_put_u64(out, request);
    return start;
}

void mosa_link_frame_end(mosa_buf *out, size_t start) {
    if (mosa_buf_failed(out)) return;
    size_t payload = out->len - start - MOSA_LINK_HEADER_BYTES;
    if (payload > MOSA_LINK_PAYLOAD_MAX) {
        out->failed = true;
        return;
    }
    uint32_t wire = htole32((uint32_t)payload);
    memcpy(out->data + start, &wire, sizeof wire);
}

void mosa_link_frame_set_request(char *frame, uint64_t request) {
    request = htole64(request);
    memcpy(frame + MOSA_LINK_HEADER_BYTES - sizeof request, &request, sizeof request);
}

void mosa_link_frame_put(mosa_buf *out, mosa_link_type type, uint64_t request, const void *payload, size_t len) {
    size_t start = mosa_link_frame_begin(out, type, request);
    mosa_buf_append(out, payload, len);
    mosa_link_frame_end(out, start);
}

void mosa_link_put_u8(mosa_buf *out, uint8_t value) {
    mosa_buf_append(out, &value, 1);
}

void mosa_link_put_u16(mosa_buf *out, uint16_t value) {
    value = htole16(value);
    mosa_buf_append(out, &value, sizeof value);
}

void mosa_link_put_u32(mosa_buf *out, uint32_t value) {
    value = htole32(value);
    mosa_buf_append(out, &value, sizeof value);
}

void mosa_link_put_u64(mosa_buf *out, uint64_t value) {
    value = htole64(value);
    mosa_buf_append(out, &value, sizeof value);
}

void mosa_link_put_f32(mosa_buf *out, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    mosa_link_put_u32(out, bits);
}

void mosa_link_put_bytes(mosa_buf *out, const void *data, size_t len) {
    if (len > MOSA_LINK_PAYLOAD_MAX) {
        out->failed = true;
        return;
    }
    mosa_link_put_u32(out, (uint32_t)len);
    mosa_buf_append(out, data, len);
}

static const unsigned char *take(mosa_link_cursor *in, size_t bytes) {
    if (in->failed || in->left < bytes) {
        in->failed = true;
        return NULL;
    }
    const unsigned char *at = in->at;
    in->at += bytes;
    in->left -= bytes;
    return at;
}

uint8_t mosa_link_get_u8(mosa_link_cursor *in) {
    const unsigned char *at = take(in, 1);
    return at ? *at : 0;
}

uint16_t mosa_link_get_u16(mosa_link_cursor *in) {
    uint16_t value = 0;
    const unsigned char *at = take(in, sizeof value);
    if (at) memcpy(&value, at, sizeof value);
    return le16toh(value);
}

uint32_t mosa_link_get_u32(mosa_link_cursor *in) {
    uint32_t value = 0;
    const unsigned char *at = take(in, sizeof value);
    if (at) memcpy(&value, at, sizeof value);
    return le32toh(value);
}

uint64_t mosa_link_get_u64(mosa_link_cursor *in) {
    uint64_t value = 0;
    const unsigned char *at = take(in, sizeof value);
    if (at) memcpy(&value, at, sizeof value);
    return le64toh(value);
}

float mosa_link_get_f32(mosa_link_cursor *in) {
    uint32_t bits = mosa_link_get_u32(in);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

mosa_slice mosa_link_get_bytes(mosa_link_cursor *in, size_t max) {
    uint32_t len = mosa_link_get_u32(in);
    if (len > max) in->failed = true;
    const unsigned char *at = take(in, len);
    return at ? (mosa_slice){(const char *)at, len} : (mosa_slice){"", 0};
}

uint32_t mosa_link_get_count(mosa_link_cursor *in, uint32_t max, size_t item_bytes) {
    uint32_t count = mosa_link_get_u32(in);
    if (count > max || in->left / item_bytes < count) in->failed = true;
    return in->failed ? 0 : count;
}
