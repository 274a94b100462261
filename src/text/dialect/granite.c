// IBM Granite 3: <|tool_call|> and a list of objects. Granite 4 writes as Hermes does.
#include "text/dialect/dialect.h"

const mosa_dialect mosa_dialect_granite = {
    .name = "granite",
    .signs = {"<|tool_call|>"},
    .form = MOSA_CALL_OBJECT,
    .call_open = "<|tool_call|>",
    .arguments_key = "arguments",
    .list = true,
};
