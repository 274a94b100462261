// Llama 3.1 and later: the answer is a call's object, with or without <|python_tag|> before it.
#include "text/dialect/dialect.h"

const mosa_dialect mosa_dialect_llama3 = {
    .name = "llama3",
    .signs = {"<|start_header_id|>", "\"parameters\": "},
    .form = MOSA_CALL_OBJECT,
    .call_open = "<|python_tag|>",
    .arguments_key = "parameters",
    .bare = true,
};
