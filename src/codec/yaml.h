// YAML: one document to the same value tree as JSON.
//
// Plain scalars follow the YAML 1.2 core schema (null ~, true/false, decimal, 0o and 0x integers, floats); quoted and
// block scalars are strings. So `no` and `1:30` are strings. Keys are strings and unique within a mapping. An alias is
// expanded into a copy, and copies count towards the limit on values: a document cannot grow exponentially. Not
// supported, and said so: several documents, tags beyond the core ones, infinities, aliases to an enclosing node.
// Thread: reentrant.
#ifndef MOSA_CODEC_YAML_H
#define MOSA_CODEC_YAML_H

#include "base/status.h"
#include "base/str.h"

#include <jansson.h>

enum { MOSA_YAML_BYTES_MAX = 4 << 20, MOSA_YAML_DEPTH_MAX = 64, MOSA_YAML_VALUES_MAX = 200000 };

// The caller owns *out (json_decref); an empty document is null. Errors name line and column: MOSA_EINVALID,
// MOSA_EUNSUPPORTED, MOSA_ELIMIT, MOSA_ENOMEM.
MOSA_MUST_USE mosa_status mosa_yaml_parse(mosa_slice text, json_t **out, mosa_error *err);
// As above for a file; messages begin with its path. Also MOSA_ENOTFOUND and MOSA_EIO.
MOSA_MUST_USE mosa_status mosa_yaml_load(const char *path, json_t **out, mosa_error *err);

#endif
