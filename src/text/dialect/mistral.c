// Mistral: [TOOL_CALLS] and a list of objects up to Nemo; [TOOL_CALLS]NAME[ARGS]{...} for each call from Small 3.1 on.
// Its templates demand ids of nine letters and digits.
#include "text/dialect/dialect.h"

enum { ID_LEN = 9 };

const mosa_dialect mosa_dialect_mistral_list = {
    .name = "mistral_list",
    .signs = {"[TOOL_CALLS]"},
    .form = MOSA_CALL_OBJECT,
    .call_open = "[TOOL_CALLS]",
    .arguments_key = "arguments",
    .list = true,
    .id_len = ID_LEN,
};

const mosa_dialect mosa_dialect_mistral = {
    .name = "mistral",
    .signs = {"[TOOL_CALLS]", "[ARGS]"},
    .form = MOSA_CALL_HEADER,
    .call_open = "[TOOL_CALLS]",
    .name_end = "[CALL_ID]",
    .arguments_open = "[ARGS]",
    .id_len = ID_LEN,
};
