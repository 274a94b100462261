// The front ends: each writes a source's rules into a grammar and gives the start rule.
//
// All return MOSA_EINVALID, MOSA_EUNSUPPORTED, MOSA_ELIMIT or MOSA_ENOMEM with a message that names the place.
#ifndef MOSA_TEXT_GRAMMAR_FRONT_H
#define MOSA_TEXT_GRAMMAR_FRONT_H

#include "text/grammar/cfg.h"

#include <jansson.h>

typedef struct mosa_front {
    mosa_cfg *cfg;
    const mosa_tokenizer *tokenizer; // to find tokens by name
    mosa_json_spacing spacing;
} mosa_front;

mosa_status mosa_front_regex(mosa_front *front, mosa_slice text, mosa_symbol *start, mosa_error *err) MOSA_MUST_USE;
mosa_status mosa_front_choice(mosa_front *front, mosa_slice text, mosa_symbol *start, mosa_error *err) MOSA_MUST_USE;
// A JSON Schema; NULL text: any object.
mosa_status mosa_front_schema(mosa_front *front, mosa_slice text, mosa_symbol *start, mosa_error *err) MOSA_MUST_USE;
mosa_status mosa_front_schema_tree(mosa_front *front, json_t *schema, mosa_symbol *start,
                                   mosa_error *err) MOSA_MUST_USE;
mosa_status mosa_front_lark(mosa_front *front, mosa_slice text, mosa_symbol *start, mosa_error *err) MOSA_MUST_USE;
mosa_status mosa_front_gbnf(mosa_front *front, mosa_slice text, mosa_symbol *start, mosa_error *err) MOSA_MUST_USE;
bool mosa_front_is_gbnf(mosa_slice text); // "::=" outside of strings and comments

#endif
