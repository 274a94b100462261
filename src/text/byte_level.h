// GPT-2's visible spelling of bytes: every byte has one printable character (0x20 is U+0120, "Ġ").
#ifndef MOSA_TEXT_BYTE_LEVEL_H
#define MOSA_TEXT_BYTE_LEVEL_H

#include "base/str.h"

void mosa_byte_level_encode(mosa_slice bytes, mosa_buf *out); // appends the spelling
// Appends the bytes that `text` (well-formed UTF-8) spells. False, nothing appended, if a character spells no byte.
bool mosa_byte_level_decode(mosa_slice text, mosa_buf *out);

#endif
