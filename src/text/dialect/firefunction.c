// Fireworks FireFunction v2: functools[{...}, {...}].
#include "text/dialect/dialect.h"

const mosa_dialect mosa_dialect_firefunction = {
    .name = "firefunction",
    .signs = {"functools["},
    .form = MOSA_CALL_OBJECT,
    .call_open = "functools",
    .arguments_key = "arguments",
    .list = true,
};
