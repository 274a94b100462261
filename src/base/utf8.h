// UTF-8, as much of it as bytes-in bytes-out code needs: where a well-formed sequence ends.
//
// Unicode proper (categories, normalisation) lives in text/.
#ifndef MOSA_BASE_UTF8_H
#define MOSA_BASE_UTF8_H

#include <stddef.h>

// Bytes of the well-formed sequence at p, which has `left` >= 1 bytes; 0 when there is none (The Unicode Standard,
// table 3-7: no overlong forms, no surrogates, nothing beyond U+10FFFF).
static inline size_t mosa_utf8_len(const unsigned char *p, size_t left) {
    unsigned char c = p[0];
    if (c < 0x80) return 1;
    size_t len = c >= 0xc2 && c <= 0xdf ? 2 : (c & 0xf0) == 0xe0 ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
    if (len == 0 || len > left) return 0;
    unsigned char low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    unsigned char high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high) return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    return len;
}

#endif
