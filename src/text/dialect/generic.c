// For templates that show no form of their own: an object between <tool_call> marks, or alone.
#include "text/dialect/dialect.h"

const mosa_dialect mosa_dialect_generic = {
    .name = "generic",
    .form = MOSA_CALL_OBJECT,
    .call_open = "<tool_call>",
    .call_close = "</tool_call>",
    .arguments_key = "arguments",
    .bare = true,
};
