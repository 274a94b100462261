// mosa version
#include "cli/command.h"

#include <stdio.h>

static mosa_status run(mosa_command_call *call, mosa_error *err) {
    (void)call, (void)err;
    printf("mosa %s\n", MOSA_VERSION);
    return MOSA_OK;
}

extern const mosa_command mosa_command_version;
const mosa_command mosa_command_version = {
    .name = "version",
    .group = MOSA_GROUP_TOOLS,
    .summary = "Print the version",
    .run = run,
};
