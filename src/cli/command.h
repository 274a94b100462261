// Commands: one descriptor per file, one line per command in command.c.
//
// main() finds the descriptor, reads its flags by its option table, calls run and turns the status into the exit code:
// 0 success, 1 failure, 2 wrong usage (MOSA_EINVALID while reading flags or arguments). A failing run has printed
// nothing about the error: main prints message and hint once.
// Thread: main thread.
#ifndef MOSA_CLI_COMMAND_H
#define MOSA_CLI_COMMAND_H

#include "base/arena.h"
#include "base/status.h"
#include "codec/config.h"

typedef enum mosa_command_group {
    MOSA_GROUP_SERVE,  // "Serve"
    MOSA_GROUP_TALK,   // "Talk to a model"
    MOSA_GROUP_MODELS, // "Models and files"
    MOSA_GROUP_TRAIN,  // "Train"
    MOSA_GROUP_TOOLS,  // "Tools"
    MOSA_GROUP_HIDDEN, // run by other commands; not in the list
    MOSA_GROUP_COUNT
} mosa_command_group;

typedef struct mosa_command_call {
    const void *values;         // the command's own struct, filled from its table
    mosa_string_list arguments; // what is not a flag
    mosa_arena *arena;          // lives until the command has returned
    const char *program;        // argv[0], to start the same binary again
    int exit_code;              // a command that succeeded may set another code than 0
} mosa_command_call;

typedef struct mosa_command {
    const char *name;
    mosa_command_group group;
    const char *summary;              // one line without a full stop, at most 60 columns
    const char *usage;                // what follows the name: "MODEL [PROMPT]"
    const char *description;          // paragraphs below the usage line; may hold examples; NULL = none
    const mosa_option_table *options; // NULL = no flags
    size_t values_bytes;              // of the struct that the table fills
    int min_arguments, max_arguments; // max -1 = any number
    bool reads_yaml;                  // the first argument may be a .yaml or .json file of the table's keys
    bool reads_config;                // environment and mosa.yaml count, and --config is understood
    mosa_status (*run)(mosa_command_call *call, mosa_error *err);
} mosa_command;

// NULL-terminated, in the order of the help text.
const mosa_command *const *mosa_commands(void);
const mosa_command *mosa_command_find(const char *name); // NULL = none
// The command that the first one or two of `words` name ("bench serve" goes before "bench"); *used says how many do.
const mosa_command *mosa_command_find_words(const char *const *words, int count, int *used);

#endif
