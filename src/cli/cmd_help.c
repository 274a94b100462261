// mosa help [COMMAND]
#include "cli/help.h"

static mosa_status run(mosa_command_call *call, mosa_error *err) {
    mosa_buf text = {0};
    if (call->arguments.count == 0) {
        mosa_help_overview(&text);
        return mosa_print(&text, err);
    }
    int used;
    const mosa_command *command = mosa_command_find_words(call->arguments.items, (int)call->arguments.count, &used);
    if (!command) return mosa_help_unknown_command(call->arguments.items[0], err);
    mosa_help_command(command, &text);
    return mosa_print(&text, err);
}

extern const mosa_command mosa_command_help;
const mosa_command mosa_command_help = {
    .name = "help",
    .group = MOSA_GROUP_TOOLS,
    .summary = "Explain a command",
    .usage = "[COMMAND]",
    .max_arguments = 2,
    .run = run,
};
