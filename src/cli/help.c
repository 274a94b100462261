// Help texts, made from the command table.
#include "cli/help.h"

#include <stdio.h>
#include <string.h>

enum { COLUMNS = 100 };

static const char *const group_titles[MOSA_GROUP_COUNT] = {
    [MOSA_GROUP_SERVE] = "Serve",
    [MOSA_GROUP_TALK] = "Talk to a model",
    [MOSA_GROUP_MODELS] = "Models and files",
    [MOSA_GROUP_TRAIN] = "Train",
    [MOSA_GROUP_TOOLS] = "Tools",
};

static void append_group(mosa_buf *out, mosa_command_group group) {
    bool any = false;
    for (const mosa_command *const *c = mosa_commands(); *c; c++) {
        if ((*c)->group != group) continue;
        if (!any) mosa_buf_printf(out, "\n%s\n", group_titles[group]);
        any = true;
        mosa_buf_printf(out, "  %-12s %s\n", (*c)->name, (*c)->summary);
    }
}

void mosa_help_overview(mosa_buf *out) {
    mosa_buf_append_str(out, "Mosa serves, fine-tunes and aligns large language models.\n\n"
                             "Usage: mosa COMMAND [options]\n");
    for (int group = 0; group < MOSA_GROUP_HIDDEN; group++) append_group(out, (mosa_command_group)group);
    mosa_buf_append_str(out, "\n`mosa help COMMAND` explains one of them. Start here:\n\n"
                             "  mosa serve --model examples/mosa-tiny.gguf     then point an OpenAI client at it\n"
                             "  mosa chat examples/mosa-tiny.gguf              or talk to it right away\n");
}

// Paragraphs are wrapped, indented lines (examples, tables) stay as they are.
static void append_description(mosa_buf *out, const char *text) {
    while (*text) {
        size_t len = strcspn(text, "\n");
        mosa_buf line = {0};
        mosa_buf_append(&line, text, len);
        if (*text == ' ' || len == 0)
            mosa_buf_printf(out, "%s\n", mosa_buf_str(&line));
        else
            mosa_buf_append_wrapped(out, mosa_buf_str(&line), 0, 0, COLUMNS);
        mosa_buf_finish(&line);
        text += len + (text[len] == '\n');
    }
}

void mosa_help_command(const mosa_command *command, mosa_buf *out) {
    mosa_buf_printf(out, "%s.\n\nUsage: mosa %s%s%s%s\n", command->summary, command->name,
                    command->options ? " [options]" : "", command->usage && *command->usage ? " " : "",
                    command->usage ? command->usage : "");
    if (command->description) {
        mosa_buf_append_char(out, '\n');
        append_description(out, command->description);
    }
    if (command->options) {
        mosa_buf_append_char(out, '\n');
        mosa_options_help(command->options, out);
    }
    if (command->reads_config)
        mosa_buf_append_str(out,
                            "\nEach of these is also a key of mosa.yaml and a MOSA_* variable; `mosa config --yaml` "
                            "prints a file to start from.\n");
}

mosa_status mosa_print(mosa_buf *text, mosa_error *err) {
    bool failed = mosa_buf_failed(text);
    if (!failed && text->len) fwrite(text->data, 1, text->len, stdout);
    mosa_buf_finish(text);
    return failed ? mosa_fail(err, MOSA_ENOMEM, "out of memory for the output") : MOSA_OK;
}

mosa_status mosa_help_unknown_command(const char *name, mosa_error *err) {
    const char *names[128];
    size_t count = 0;
    for (const mosa_command *const *c = mosa_commands(); *c && count < MOSA_COUNT(names); c++)
        if ((*c)->group != MOSA_GROUP_HIDDEN) names[count++] = (*c)->name;
    const char *nearest = mosa_nearest_word(name, names, count);
    mosa_status status = mosa_fail(err, MOSA_EINVALID, "unknown command '%s'", name);
    if (nearest)
        mosa_hint(err, "did you mean `mosa %s`?", nearest);
    else
        mosa_hint(err, "`mosa --help` lists the commands");
    return status;
}
