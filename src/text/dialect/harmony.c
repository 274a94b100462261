// OpenAI gpt-oss: messages of the form <|start|>assistant to=functions.NAME<|channel|>commentary json<|message|>...
//
// The analysis channel is reasoning, the final one the answer; a message to a function is a call, and ends with
// <|call|>, which also ends the generation.
#include "text/dialect/dialect.h"

const mosa_dialect mosa_dialect_harmony = {
    .name = "harmony",
    .signs = {"<|channel|>", "<|message|>", "<|start|>"},
    .form = MOSA_CALL_HARMONY,
};
