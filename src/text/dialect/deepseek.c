// DeepSeek: V3 and R1 write "function", a separator, the name and fenced JSON; V3.1 the name, a separator and JSON.
#include "text/dialect/dialect.h"

#define SECTION                                                                                                        \
    .section_open = "<｜tool▁calls▁begin｜>", .section_close = "<｜tool▁calls▁end｜>",                                 \
    .call_open = "<｜tool▁call▁begin｜>", .call_close = "<｜tool▁call▁end｜>"

const mosa_dialect mosa_dialect_deepseek_r1 = {
    .name = "deepseek_r1",
    .signs = {"<｜tool▁calls▁begin｜>", "```json"},
    .form = MOSA_CALL_HEADER,
    SECTION,
    .name_open = "function<｜tool▁sep｜>",
    .arguments_open = "\n```json\n",
    .arguments_close = "\n```",
};

const mosa_dialect mosa_dialect_deepseek_v31 = {
    .name = "deepseek_v31",
    .signs = {"<｜tool▁calls▁begin｜>"},
    .form = MOSA_CALL_HEADER,
    SECTION,
    .arguments_open = "<｜tool▁sep｜>",
};
