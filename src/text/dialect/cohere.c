// Cohere Command R7B and later: a list of objects between START_ACTION and END_ACTION.
#include "text/dialect/dialect.h"

const mosa_dialect mosa_dialect_cohere = {
    .name = "cohere",
    .signs = {"<|START_ACTION|>"},
    .form = MOSA_CALL_OBJECT,
    .call_open = "<|START_ACTION|>",
    .call_close = "<|END_ACTION|>",
    .arguments_key = "parameters",
    .list = true,
};
