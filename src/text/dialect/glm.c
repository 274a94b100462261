// GLM 4.5 and later: the name, then keys and values between marks.
#include "text/dialect/dialect.h"

const mosa_dialect mosa_dialect_glm = {
    .name = "glm",
    .signs = {"<arg_key>", "<tool_call>"},
    .form = MOSA_CALL_PARAMS,
    .call_open = "<tool_call>",
    .call_close = "</tool_call>",
    .name_close = "\n",
    .param_open = "<arg_key>",
    .param_mid = "</arg_key>",
    .param_mid2 = "<arg_value>",
    .param_close = "</arg_value>",
};
