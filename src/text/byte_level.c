// The alphabet: printable Latin-1 characters stand for themselves, the other 68 bytes for U+0100 onwards, in order.
#include "text/byte_level.h"

#include "text/unicode.h"

static bool stands_for_itself(unsigned c) {
    return (c >= '!' && c <= '~') || (c >= 0xA1 && c <= 0xAC) || (c >= 0xAE && c <= 0xFF);
}

// The other bytes are 0-32, 127-160 and 173: their order number is plain arithmetic.
static uint32_t character_of(unsigned byte) {
    if (stands_for_itself(byte)) return byte;
    if (byte <= 32) return 0x100 + byte;
    return byte == 173 ? 0x100 + 67 : 0x100 + 33 + (byte - 127);
}

static int byte_of(uint32_t c) {
    if (c < 0x100) return stands_for_itself(c) ? (int)c : -1;
    uint32_t order = c - 0x100;
    if (order <= 32) return (int)order;
    if (order < 67) return (int)(order - 33 + 127);
    return order == 67 ? 173 : -1;
}

void mosa_byte_level_encode(mosa_slice bytes, mosa_buf *out) {
    for (size_t i = 0; i < bytes.len; i++) {
        char text[MOSA_UTF8_MAX];
        unsigned len = mosa_utf8_encode(character_of((unsigned char)bytes.data[i]), text);
        mosa_buf_append(out, text, len);
    }
}

bool mosa_byte_level_decode(mosa_slice text, mosa_buf *out) {
    size_t before = out->len;
    unsigned len;
    for (size_t at = 0; at < text.len; at += len) {
        int byte = byte_of(mosa_utf8_decode(text.data + at, &len));
        if (byte < 0) {
            if (!mosa_buf_failed(out)) out->len = before;
            return false;
        }
        mosa_buf_append_char(out, (char)byte);
    }
    return true;
}
