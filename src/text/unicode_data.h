// The generated Unicode tables; use text/unicode.h.
#ifndef MOSA_TEXT_UNICODE_DATA_H
#define MOSA_TEXT_UNICODE_DATA_H

#include <stdint.h>

extern const uint32_t mosa_unicode_index_count;
extern const uint16_t mosa_unicode_index[];
extern const uint8_t mosa_unicode_props[];

#endif
