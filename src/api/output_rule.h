// What a body says about the form of the output: response_format, guided_*, structured_outputs.
#ifndef MOSA_API_OUTPUT_RULE_H
#define MOSA_API_OUTPUT_RULE_H

#include "api/http.h"
#include "mosa/mosa.h"

typedef struct mosa_output_rule {
    mosa_constraint_kind kind; // NONE: the output is free
    mosa_buf text;             // of the constraint
    const char *param;         // the field that says so, a constant; for errors of the grammar
} mosa_output_rule;

// False with request->error: an unknown form, two rules at once, a schema that is not an object. Whether a schema,
// expression or grammar can be enforced is found out by the engine. The caller calls mosa_output_rule_finish in any
// case.
bool mosa_output_rule_read(mosa_http_request *request, mosa_output_rule *out);
void mosa_output_rule_finish(mosa_output_rule *rule);

#endif
