// What `mosa --help` and `mosa help COMMAND` print.
#ifndef MOSA_CLI_HELP_H
#define MOSA_CLI_HELP_H

#include "base/str.h"
#include "cli/command.h"

void mosa_help_overview(mosa_buf *out);
void mosa_help_command(const mosa_command *command, mosa_buf *out);

// Prints a buffer to standard output and releases it. MOSA_ENOMEM when the buffer had failed.
MOSA_MUST_USE mosa_status mosa_print(mosa_buf *text, mosa_error *err);

// The error for a word that is no command, with "did you mean" as the hint.
mosa_status mosa_help_unknown_command(const char *name, mosa_error *err);

#endif
