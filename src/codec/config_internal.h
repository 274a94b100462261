// What the files of the configuration table share: one value's text, and the names made from a row.
#ifndef MOSA_CODEC_CONFIG_INTERNAL_H
#define MOSA_CODEC_CONFIG_INTERNAL_H

#include "codec/config.h"

enum { MOSA_OPTION_NAME_MAX = 96 };

// Parses `text` into the row's field. `where` names the source in messages: "--port", "MOSA_PORT", "mosa.yaml:
// server.port". A LIST takes `text` as one more item. Strings are copied into the arena.
MOSA_MUST_USE mosa_status mosa_option_set(const mosa_option *option, const char *where, const char *text,
                                          mosa_arena *arena, void *values, mosa_error *err);
// The field back to its zero (NULL, 0, an empty list).
void mosa_option_clear(const mosa_option *option, void *values);
// The field as text that mosa_option_set understands; nothing for NULL. A LIST is joined by commas.
void mosa_option_append(const mosa_option *option, const void *values, mosa_buf *out);

// Name of the environment variable, or "" when there is none.
void mosa_option_env(const mosa_option *option, char out[MOSA_OPTION_NAME_MAX]);
const char *mosa_option_placeholder(const mosa_option *option); // "PORT", "N", ...; NULL for a BOOL
// "0 to 65535", "f16 or f32"; nothing when the type says it all.
void mosa_option_append_range(const mosa_option *option, mosa_buf *out);

#endif
