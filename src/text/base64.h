// Base64 (RFC 4648, standard alphabet), strict but for missing padding.
#ifndef MOSA_TEXT_BASE64_H
#define MOSA_TEXT_BASE64_H

#include "base/str.h"

// Decodes into `out`, which has room for 3 bytes per 4 characters begun; returns the length or -1 on a bad character.
static inline ptrdiff_t mosa_base64_decode(mosa_slice text, char *out) {
    while (text.len && text.data[text.len - 1] == '=') text.len--;
    ptrdiff_t count = 0;
    uint32_t bits = 0;
    int have = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        int digit = c >= 'A' && c <= 'Z'   ? c - 'A'
                    : c >= 'a' && c <= 'z' ? c - 'a' + 26
                    : c >= '0' && c <= '9' ? c - '0' + 52
                    : c == '+'             ? 62
                    : c == '/'             ? 63
                                           : -1;
        if (digit < 0) return -1;
        bits = bits << 6 | (uint32_t)digit;
        have += 6;
        if (have < 8) continue;
        have -= 8;
        out[count++] = (char)(bits >> have & 0xFF);
    }
    return count;
}

#endif
