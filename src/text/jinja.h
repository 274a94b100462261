// Jinja: the template language that chat templates are written in.
//
// Renders as Python's jinja2 does in the environment that transformers sets up for chat templates: sandboxed with
// immutable values, trim_blocks and lstrip_blocks on, break/continue, {% generation %}, tojson without HTML escapes,
// raise_exception and strftime_now. Absent, each with an error that says so: include, import, extends, autoescape, and
// the filters random, urlize, wordwrap and pprint. Integers have 64 bits.
//
// Every string carries who wrote it. Template text and `trusted` variables are trusted, everything else of the context
// is not, and the mark follows the bytes through concatenation, slicing, filters and JSON, up to the output's ranges.
//
// A template is immutable once parsed: any number of threads may render it at the same time.
#ifndef MOSA_TEXT_JINJA_H
#define MOSA_TEXT_JINJA_H

#include "base/status.h"
#include "base/str.h"
#include "text/text_range.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

typedef struct mosa_jinja_template mosa_jinja_template;

// A bound of 0 means the default.
typedef struct mosa_jinja_limits {
    size_t max_output_bytes; // rendered text; default 64 MiB
    size_t max_memory_bytes; // values made while rendering; default 256 MiB
    uint64_t max_steps;      // evaluated nodes, plus one per 64 bytes of text touched; default 20 million
    unsigned max_depth;      // nested evaluations: expressions, blocks, macro calls; default 600
} mosa_jinja_limits;

typedef struct mosa_jinja_inputs {
    json_t *variables; // object: what a request brings; its strings are untrusted. NULL = none. Borrowed
    json_t *trusted;   // object: what the model's files bring (bos_token, ...). NULL = none. Borrowed.
                       // A name in both comes from `variables`
    // Says whether the string `text` under the key `key` of some object inside `variables` may count as trusted, e.g.
    // a known role name that templates build special tokens from. NULL = never.
    bool (*trusts_member)(const char *key, mosa_slice text);
    const struct tm *now; // what strftime_now formats; NULL = the local time of the call
    mosa_jinja_limits limits;
} mosa_jinja_inputs;

typedef struct mosa_jinja_output {
    char *text; // UTF-8, NUL-terminated
    size_t len;
    mosa_text_range *ranges; // covers the text
    size_t n_ranges;
} mosa_jinja_output;

// Parses UTF-8 source; keeps a copy. MOSA_ECORRUPT with the line for a syntax error, MOSA_EUNSUPPORTED for a statement
// that we do not have. Free with mosa_jinja_destroy (NULL-safe).
mosa_status mosa_jinja_parse(mosa_slice source, mosa_jinja_template **out, mosa_error *err);
void mosa_jinja_destroy(mosa_jinja_template *tmpl);

// Whether the source has a {% generation %} block, i.e. whether `generated` ranges can appear.
bool mosa_jinja_has_generation(const mosa_jinja_template *tmpl);

// Renders. On success fills *out, to be released with mosa_jinja_output_finish.
// MOSA_EINVALID: the template called raise_exception (the message is its argument), or an operation failed on these
// inputs (the message names the line). MOSA_ELIMIT: a bound was hit. MOSA_EUNSUPPORTED: see the head of this file.
mosa_status mosa_jinja_render(const mosa_jinja_template *tmpl, const mosa_jinja_inputs *inputs, mosa_jinja_output *out,
                              mosa_error *err);
void mosa_jinja_output_finish(mosa_jinja_output *out); // safe on a zeroed struct, and twice

#endif
