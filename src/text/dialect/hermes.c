// Nous Hermes, Qwen 2.5 and 3, SmolLM3, Granite 4 and many others: one object per pair of <tool_call> marks.
#include "text/dialect/dialect.h"

const mosa_dialect mosa_dialect_hermes = {
    .name = "hermes",
    .signs = {"<tool_call>"},
    .form = MOSA_CALL_OBJECT,
    .call_open = "<tool_call>",
    .call_close = "</tool_call>",
    .arguments_key = "arguments",
};
