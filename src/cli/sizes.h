// What a model takes of the machine's memory and what that allows, as lines for people.
#ifndef MOSA_CLI_SIZES_H
#define MOSA_CLI_SIZES_H

#include "mosa/mosa.h"

#include <stdio.h>

// weights 637.1 MiB; scratch 12.0 MiB
// KV      22.0 KiB per token; 4096 pages of 32 tokens, 2816.0 MiB
// fits    sequences of up to 131072 tokens; 32 of 4096 tokens at the same time
void mosa_print_sizes(FILE *stream, const mosa_engine_info *info);

#endif
