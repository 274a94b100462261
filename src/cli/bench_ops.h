// The table of `mosa bench --ops`: where the time of prefill and of decoding goes, beside what the machine allows.
#ifndef MOSA_CLI_BENCH_OPS_H
#define MOSA_CLI_BENCH_OPS_H

#include "mosa/mosa.h"

#include <jansson.h>

// Prints the engine's profile under a title, slowest op first. The limit of an op is the longer of its bytes over the
// read bandwidth and its operations over the multiply-add rate of its operands.
void mosa_bench_ops_print(const char *title, const mosa_engine *engine, const mosa_limits *limits);
json_t *mosa_bench_ops_json(const mosa_engine *engine, const mosa_limits *limits); // array; NULL when out of memory

#endif
