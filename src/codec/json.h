// JSON: bytes to jansson's value tree and back, with limits.
//
// json_t is the one value tree of Mosa: request bodies, tokenizer files, YAML documents and templates all become it.
// Numbers: integers that fit int64 stay integers, larger ones become reals; NaN and infinities do not exist.
// Strings may hold "\u0000": json_string_length counts it.
// Thread: reentrant; a tree belongs to one thread at a time (reading one that nobody
// changes is safe from many.
#ifndef MOSA_CODEC_JSON_H
#define MOSA_CODEC_JSON_H

#include "base/status.h"
#include "base/str.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct mosa_json_limits {
    size_t bytes_max;
    int depth_max; // nested arrays and objects
} mosa_json_limits;

enum { MOSA_JSON_BYTES_MAX = 256 << 20, MOSA_JSON_DEPTH_MAX = 128 }; // with limits == NULL

// Parses one document of UTF-8 (RFC 8259; any value at the root). Keys must be unique within an object and free of
// "\u0000". The caller owns *out (json_decref). Memory is at most about 40 times the text.
// Errors name line and column: MOSA_EINVALID for bad syntax, encoding or a number beyond double; MOSA_ELIMIT for a
// bound; MOSA_ENOMEM.
MOSA_MUST_USE mosa_status mosa_json_parse(mosa_slice text, const mosa_json_limits *limits, json_t **out,
                                          mosa_error *err);
// As above for a file; messages begin with its path. Also MOSA_ENOTFOUND and MOSA_EIO.
MOSA_MUST_USE mosa_status mosa_json_load(const char *path, const mosa_json_limits *limits, json_t **out,
                                         mosa_error *err);

const char *mosa_json_type_name(const json_t *value); // "object", "string", "integer", "number", "boolean", ...

// --- writing ------------------------------------------------------------------------------------------------------

// Appends compact JSON; reals in the shortest form that reads back equal; object keys in order of insertion.
// Failure shows in the buffer (mosa_buf_failed), also for a tree nested deeper than 1024.
void mosa_json_append(mosa_buf *out, const json_t *value);
void mosa_json_append_pretty(mosa_buf *out, const json_t *value); // two spaces per level, for people
// Pieces, for code that writes JSON straight into a buffer. Ill-formed UTF-8 becomes U+FFFD.
void mosa_json_append_string(mosa_buf *out, mosa_slice text); // with its quotes
void mosa_json_append_f64(mosa_buf *out, double value);       // NaN and infinities become null

void mosa_json_auto_decref(json_t **value); // MOSA_AUTO(mosa_json_auto_decref) json_t *tree = NULL;
#define MOSA_AUTO_JSON MOSA_AUTO(mosa_json_auto_decref)

#endif
