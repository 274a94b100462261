// mosa data: lists the commands for training data.
#include "cli/command.h"
#include "cli/help.h"

#include <string.h>

static mosa_status run(mosa_command_call *call, mosa_error *err) {
    if (call->arguments.count > 0) {
        (void)mosa_fail(err, MOSA_EINVALID, "mosa data %s: there is no such command", call->arguments.items[0]);
        return mosa_hint(err, "`mosa data` lists them");
    }
    mosa_buf out = {0};
    mosa_buf_append_str(&out, "Training data.\n\nUsage: mosa data COMMAND FILE... [options]\n\n");
    for (const mosa_command *const *c = mosa_commands(); *c; c++)
        if (strncmp((*c)->name, "data ", 5) == 0) mosa_buf_printf(&out, "  %-14s %s\n", (*c)->name, (*c)->summary);
    mosa_buf_append_str(&out, "\n`mosa help data inspect` explains one of them.\n");
    return mosa_print(&out, err);
}

extern const mosa_command mosa_command_data;
const mosa_command mosa_command_data = {
    .name = "data",
    .group = MOSA_GROUP_TOOLS,
    .summary = "Inspect, count, clean and pack training data",
    .usage = "[inspect|stats|dedup|split|pack] FILE...",
    .min_arguments = 0,
    .max_arguments = -1,
    .run = run,
};
