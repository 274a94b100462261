// Qwen3-Coder, Qwen 3.5, Nemotron 3, Step 3.5 and ByteDance Seed: parameters between marks, one by one.
#include "text/dialect/dialect.h"

#define PARAMETERS                                                                                                     \
    .form = MOSA_CALL_PARAMS, .name_open = "<function=", .name_close = ">",                                            \
    .param_open = "<parameter=", .param_mid = ">", .param_close = "</parameter>", .params_close = "</function>",       \
    .value_lines = true

const mosa_dialect mosa_dialect_qwen_coder = {
    .name = "qwen_coder",
    .signs = {"<tool_call>", "<function=", "<parameter="},
    PARAMETERS,
    .call_open = "<tool_call>",
    .call_close = "</tool_call>",
};

const mosa_dialect mosa_dialect_seed = {
    .name = "seed",
    .signs = {"<seed:tool_call>", "<function=", "<parameter="},
    PARAMETERS,
    .call_open = "<seed:tool_call>",
    .call_close = "</seed:tool_call>",
};
