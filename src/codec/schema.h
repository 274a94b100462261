// JSON Schema (draft 2020-12): one checker for API bodies, job specifications and configuration.
//
// Supported: the core and validation vocabularies as the table in schema_keywords.c lists them, with $ref to "#...",
// $defs and $anchor of the same document. Annotations are ignored. Any other keyword (unevaluated*, $dynamicRef, remote
// $ref, or one that is misspelt) is MOSA_EUNSUPPORTED at compile time: what a schema says is either checked or refused.
// Patterns are PCRE2 with Unicode properties and a match limit. A check is bounded in depth and in steps.
// Thread: a compiled schema is immutable and may be used by any number of threads.
#ifndef MOSA_CODEC_SCHEMA_H
#define MOSA_CODEC_SCHEMA_H

#include "base/status.h"

#include <jansson.h>

typedef struct mosa_schema mosa_schema;

enum {
    MOSA_SCHEMA_NODES_MAX = 20000,    // subschemas of one document
    MOSA_SCHEMA_DEPTH_MAX = 256,      // nested subschemas while checking
    MOSA_SCHEMA_STEPS_MAX = 10 << 20, // keyword applications of one check
};

// Takes a reference to `document`, which must not change afterwards. The caller owns *out.
// Errors name the place in the schema ("#/properties/stop/type"): MOSA_EINVALID, MOSA_EUNSUPPORTED, MOSA_ELIMIT,
// MOSA_ENOMEM.
MOSA_MUST_USE mosa_status mosa_schema_compile(json_t *document, mosa_schema **out, mosa_error *err);
// As above from JSON text that is part of the program.
MOSA_MUST_USE mosa_status mosa_schema_compile_text(const char *text, mosa_schema **out, mosa_error *err);
void mosa_schema_destroy(mosa_schema *schema); // NULL-safe

enum { MOSA_SCHEMA_PATH_MAX = 160 };

// MOSA_OK when `value` is valid. Else MOSA_EINVALID with a message that begins with the place of the first fault
// ("messages[0].content: must be a string or an array, not a number"), which also goes to `path` unless that is NULL.
// MOSA_ELIMIT when the check would take too long.
MOSA_MUST_USE mosa_status mosa_schema_check(const mosa_schema *schema, const json_t *value,
                                            char path[MOSA_SCHEMA_PATH_MAX], mosa_error *err);

#endif
