// Unicode for tokenizers: UTF-8 decoding, general categories (Unicode 16), normalisation forms.
//
// Categories come from our own table, because the regex engines that defined today's vocabularies use Unicode 16, and
// the system's libraries are older. Normalisation and lower case come from utf8proc. All functions are pure.
#ifndef MOSA_TEXT_UNICODE_H
#define MOSA_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "text/unicode_data.h"

// Order fixed by gen_unicode_data.py.
typedef enum mosa_unicode_category {
    MOSA_UC_CN,
    MOSA_UC_LU,
    MOSA_UC_LL,
    MOSA_UC_LT,
    MOSA_UC_LM,
    MOSA_UC_LO,
    MOSA_UC_MN,
    MOSA_UC_MC,
    MOSA_UC_ME,
    MOSA_UC_ND,
    MOSA_UC_NL,
    MOSA_UC_NO,
    MOSA_UC_PC,
    MOSA_UC_PD,
    MOSA_UC_PS,
    MOSA_UC_PE,
    MOSA_UC_PI,
    MOSA_UC_PF,
    MOSA_UC_PO,
    MOSA_UC_SM,
    MOSA_UC_SC,
    MOSA_UC_SK,
    MOSA_UC_SO,
    MOSA_UC_ZS,
    MOSA_UC_ZL,
    MOSA_UC_ZP,
    MOSA_UC_CC,
    MOSA_UC_CF,
    MOSA_UC_CS,
    MOSA_UC_CO
} mosa_unicode_category;

// Sets of categories as bit masks: (mosa_unicode_mask(c) & MOSA_UM_L) != 0.
#define MOSA_UM(category) (1u << (category))
enum {
    MOSA_UM_L =
        MOSA_UM(MOSA_UC_LU) | MOSA_UM(MOSA_UC_LL) | MOSA_UM(MOSA_UC_LT) | MOSA_UM(MOSA_UC_LM) | MOSA_UM(MOSA_UC_LO),
    MOSA_UM_M = MOSA_UM(MOSA_UC_MN) | MOSA_UM(MOSA_UC_MC) | MOSA_UM(MOSA_UC_ME),
    MOSA_UM_N = MOSA_UM(MOSA_UC_ND) | MOSA_UM(MOSA_UC_NL) | MOSA_UM(MOSA_UC_NO),
    MOSA_UM_P = MOSA_UM(MOSA_UC_PC) | MOSA_UM(MOSA_UC_PD) | MOSA_UM(MOSA_UC_PS) | MOSA_UM(MOSA_UC_PE) |
                MOSA_UM(MOSA_UC_PI) | MOSA_UM(MOSA_UC_PF) | MOSA_UM(MOSA_UC_PO),
    MOSA_UM_S = MOSA_UM(MOSA_UC_SM) | MOSA_UM(MOSA_UC_SC) | MOSA_UM(MOSA_UC_SK) | MOSA_UM(MOSA_UC_SO),
    MOSA_UM_Z = MOSA_UM(MOSA_UC_ZS) | MOSA_UM(MOSA_UC_ZL) | MOSA_UM(MOSA_UC_ZP),
    MOSA_UM_UPPER = MOSA_UM(MOSA_UC_LU) | MOSA_UM(MOSA_UC_LT) | MOSA_UM(MOSA_UC_LM) | MOSA_UM(MOSA_UC_LO) | MOSA_UM_M,
    MOSA_UM_LOWER = MOSA_UM(MOSA_UC_LL) | MOSA_UM(MOSA_UC_LM) | MOSA_UM(MOSA_UC_LO) | MOSA_UM_M,
};

static inline uint8_t mosa_unicode_prop(uint32_t c) {
    uint32_t block = c >> 7;
    if (block >= mosa_unicode_index_count) return MOSA_UC_CN;
    return mosa_unicode_props[((uint32_t)mosa_unicode_index[block] << 7) | (c & 127)];
}
static inline mosa_unicode_category mosa_unicode_gc(uint32_t c) {
    return (mosa_unicode_category)(mosa_unicode_prop(c) & 31);
}
static inline uint32_t mosa_unicode_mask(uint32_t c) {
    return 1u << mosa_unicode_gc(c);
}
static inline bool mosa_unicode_present_in_8(uint32_t c) {
    return (mosa_unicode_prop(c) & 32) != 0;
}
static inline bool mosa_unicode_present_in_9(uint32_t c) {
    return (mosa_unicode_prop(c) & 64) != 0;
}

// Property White_Space: 9-13, U+0085 and the Z categories.
static inline bool mosa_unicode_is_space(uint32_t c) {
    if (c < 128) return c == ' ' || (c >= 9 && c <= 13);
    return c == 0x85 || (mosa_unicode_mask(c) & MOSA_UM_Z) != 0;
}
// \w of Rust's regex crate: Alphabetic, M, Nd, Pc, Join_Control.
bool mosa_unicode_is_word(uint32_t c);
uint32_t mosa_unicode_lower(uint32_t c); // simple mapping

// --- UTF-8 ----------------------------------------------------------------------------------------------------------

enum { MOSA_UTF8_MAX = 4, MOSA_UNICODE_REPLACEMENT = 0xFFFD };

// Decodes one character of well-formed UTF-8 at `p` (not at the end) and stores its length.
static inline uint32_t mosa_utf8_decode(const char *p, unsigned *len) {
    const unsigned char *b = (const unsigned char *)p;
    if (b[0] < 0x80) {
        *len = 1;
        return b[0];
    }
    if (b[0] < 0xE0) {
        *len = 2;
        return (uint32_t)(b[0] & 0x1F) << 6 | (b[1] & 0x3F);
    }
    if (b[0] < 0xF0) {
        *len = 3;
        return (uint32_t)(b[0] & 0x0F) << 12 | (uint32_t)(b[1] & 0x3F) << 6 | (b[2] & 0x3F);
    }
    *len = 4;
    return (uint32_t)(b[0] & 0x07) << 18 | (uint32_t)(b[1] & 0x3F) << 12 | (uint32_t)(b[2] & 0x3F) << 6 | (b[3] & 0x3F);
}
// Length in bytes of the character that starts with byte `lead` of well-formed UTF-8.
static inline unsigned mosa_utf8_len(unsigned char lead) {
    return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}
unsigned mosa_utf8_encode(uint32_t c, char out[MOSA_UTF8_MAX]); // returns the length

// What stands at the start of arbitrary bytes: a whole character, an ill-formed part of `len` bytes (the maximal
// subpart, one U+FFFD by the Unicode standard's recommendation and Python's errors="replace"), or the start of a
// character whose rest is not there yet.
typedef enum mosa_utf8_kind { MOSA_UTF8_CHAR, MOSA_UTF8_BAD, MOSA_UTF8_PARTIAL } mosa_utf8_kind;
mosa_utf8_kind mosa_utf8_scan(const char *data, size_t len, unsigned *used); // len > 0

size_t mosa_utf8_valid_prefix(const char *data, size_t len); // bytes of the longest well-formed prefix
// Appends `text` with every ill-formed part replaced by U+FFFD.
void mosa_utf8_append_lossy(mosa_buf *out, mosa_slice text);

// --- Normalisation --------------------------------------------------------------------------------------------------

typedef enum mosa_unicode_form { MOSA_NFC, MOSA_NFD, MOSA_NFKC, MOSA_NFKD } mosa_unicode_form;
// Appends the normalised form of well-formed UTF-8. False when out of memory (also when *out failed).
bool mosa_unicode_normalize(mosa_unicode_form form, mosa_slice text, mosa_buf *out);

#endif
