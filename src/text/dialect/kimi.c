// Moonshot Kimi K2: functions.NAME:INDEX, a mark, JSON.
#include "text/dialect/dialect.h"

const mosa_dialect mosa_dialect_kimi = {
    .name = "kimi",
    .signs = {"<|tool_calls_section_begin|>", "<|tool_call_argument_begin|>"},
    .form = MOSA_CALL_HEADER,
    .section_open = "<|tool_calls_section_begin|>",
    .section_close = "<|tool_calls_section_end|>",
    .call_open = "<|tool_call_begin|>",
    .call_close = "<|tool_call_end|>",
    .name_open = "functions.",
    .name_end = ":",
    .arguments_open = "<|tool_call_argument_begin|>",
};
