// The table of commands: one line each, in the order of the help text.
#include "cli/command.h"

#include <stdio.h>
#include <string.h>

extern const mosa_command mosa_command_bench;
extern const mosa_command mosa_command_bench_serve;
extern const mosa_command mosa_command_chat;
extern const mosa_command mosa_command_config;
extern const mosa_command mosa_command_convert;
extern const mosa_command mosa_command_data;
extern const mosa_command mosa_command_data_dedup;
extern const mosa_command mosa_command_data_inspect;
extern const mosa_command mosa_command_data_pack;
extern const mosa_command mosa_command_data_split;
extern const mosa_command mosa_command_data_stats;
extern const mosa_command mosa_command_devices;
extern const mosa_command mosa_command_engine;
extern const mosa_command mosa_command_eval;
extern const mosa_command mosa_command_help;
extern const mosa_command mosa_command_inspect;
extern const mosa_command mosa_command_pull;
extern const mosa_command mosa_command_run;
extern const mosa_command mosa_command_serve;
extern const mosa_command mosa_command_tokenize;
extern const mosa_command mosa_command_tokenizer;
extern const mosa_command mosa_command_train;
extern const mosa_command mosa_command_train_plot;
extern const mosa_command mosa_command_version;

static const mosa_command *const table[] = {
    &mosa_command_serve,
    &mosa_command_chat,
    &mosa_command_run,
    &mosa_command_config,
    &mosa_command_pull,
    &mosa_command_inspect,
    &mosa_command_tokenize,
    &mosa_command_tokenizer,
    &mosa_command_convert,
    &mosa_command_train,
    &mosa_command_train_plot,
    &mosa_command_bench,
    &mosa_command_bench_serve,
    &mosa_command_eval,
    &mosa_command_data,
    &mosa_command_data_inspect,
    &mosa_command_data_dedup,
    &mosa_command_data_split,
    &mosa_command_data_pack,
    &mosa_command_data_stats,
    &mosa_command_devices,
    &mosa_command_engine,
    &mosa_command_help,
    &mosa_command_version,
    NULL,
};

const mosa_command *const *mosa_commands(void) {
    return table;
}

const mosa_command *mosa_command_find(const char *name) {
    for (const mosa_command *const *c = table; *c; c++)
        if (strcmp((*c)->name, name) == 0) return *c;
    return NULL;
}

const mosa_command *mosa_command_find_words(const char *const *words, int count, int *used) {
    char both[64];
    if (count >= 2 && (size_t)snprintf(both, sizeof both, "%s %s", words[0], words[1]) < sizeof both) {
        const mosa_command *command = mosa_command_find(both);
        *used = 2;
        if (command) return command;
    }
    *used = 1;
    return count > 0 ? mosa_command_find(words[0]) : NULL;
}
