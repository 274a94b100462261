// The program: finds the command, reads its flags, runs it, and prints its error once.
#include "base/file.h"
#include "cli/command.h"
#include "cli/help.h"
#include "cli/settings.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static int report(const mosa_error *err, int exit_code) {
    fflush(stdout);
    fprintf(stderr, "mosa: %s\n", err->message);
    if (err->hint[0]) fprintf(stderr, "      %s\n", err->hint);
    return exit_code;
}

// What goes to a full disk or a closed pipe has not been said.
static int finish_output(int exit_code) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return exit_code;
    if (errno != EPIPE) fprintf(stderr, "mosa: cannot write to standard output: %s\n", strerror(errno));
    return exit_code ? exit_code : EXIT_FAILED;
}

static bool is_flag(const char *argument, const char *flag) {
    size_t len = strlen(flag);
    return strncmp(argument, flag, len) == 0 && (!argument[len] || argument[len] == '=');
}

// Value of --config, which must be known before the other flags count; NULL when it is not given.
static const char *config_flag(int argc, char **argv) {
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (!is_flag(argv[i], "--config")) continue;
        const char *equals = strchr(argv[i], '=');
        return equals ? equals + 1 : i + 1 < argc ? argv[i + 1] : NULL;
    }
    return NULL;
}

static bool wants_help(int argc, char **argv) {
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
    return false;
}

static bool is_yaml(const char *path) {
    return mosa_str_ends_with(path, ".yaml") || mosa_str_ends_with(path, ".yml") || mosa_str_ends_with(path, ".json");
}

static mosa_status read_call(const mosa_command *command, int argc, char **argv, mosa_command_call *call,
                             mosa_error *err) {
    static const mosa_option_table no_options;
    void *values = mosa_arena_alloc(call->arena, command->values_bytes);
    if (!values) return mosa_fail(err, MOSA_ENOMEM, "out of memory for the settings of %s", command->name);
    mosa_option_sources sources = {.argc = argc, .argv = (const char *const *)argv};
    if (command->reads_config) {
        sources.env = (const char *const *)environ;
        sources.yaml_path = mosa_settings_path(config_flag(argc, argv));
    }
    const mosa_option_table *table = command->options ? command->options : &no_options;
    MOSA_TRY(mosa_options_read(table, &sources, call->arena, values, &call->arguments, err));
    if (command->reads_yaml && call->arguments.count && is_yaml(call->arguments.items[0])) {
        sources.yaml_path = call->arguments.items[0];
        MOSA_TRY(mosa_options_read(table, &sources, call->arena, values, &call->arguments, err));
    }
    call->values = values;
    int count = (int)call->arguments.count;
    if (count < command->min_arguments)
        return mosa_fail(err, MOSA_EINVALID, "%s needs %s", command->name, command->usage);
    if (command->max_arguments >= 0 && count > command->max_arguments)
        return mosa_fail(err, MOSA_EINVALID, "%s takes %d argument%s, '%s' is too many", command->name,
                         command->max_arguments, command->max_arguments == 1 ? "" : "s",
                         call->arguments.items[command->max_arguments]);
    return MOSA_OK;
}

static int run_command(const mosa_command *command, const char *program, int argc, char **argv) {
    mosa_error err = {0};
    mosa_arena arena;
    mosa_arena_init(&arena, 0, 0);
    mosa_command_call call = {.arena = &arena, .program = program};
    mosa_status status = read_call(command, argc, argv, &call, &err);
    int exit_code;
    if (status != MOSA_OK) {
        if (status == MOSA_EINVALID && !err.hint[0]) mosa_hint(&err, "see `mosa help %s`", command->name);
        exit_code = report(&err, status == MOSA_EINVALID ? EXIT_USAGE : EXIT_FAILED);
    } else {
        status = command->run(&call, &err);
        exit_code = status == MOSA_OK ? call.exit_code : report(&err, EXIT_FAILED);
    }
    mosa_arena_finish(&arena);
    return exit_code;
}

static int print_help(const mosa_command *command) {
    mosa_error err = {0};
    mosa_buf text = {0};
    if (command)
        mosa_help_command(command, &text);
    else
        mosa_help_overview(&text);
    return mosa_print(&text, &err) == MOSA_OK ? EXIT_OK : report(&err, EXIT_FAILED);
}

static int dispatch(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "--help";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) return print_help(NULL);
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) name = "version";
    const char *words[] = {name, argc > 2 ? argv[2] : NULL};
    int used;
    const mosa_command *command = mosa_command_find_words(words, argc > 2 ? 2 : 1, &used);
    if (!command) {
        mosa_error err = {0};
        mosa_help_unknown_command(name, &err);
        return report(&err, EXIT_USAGE);
    }
    int taken = argc > 1 ? 1 + used : argc;
    if (wants_help(argc - taken, argv + taken)) return print_help(command);
    return run_command(command, argv[0], argc - taken, argv + taken);
}

int main(int argc, char **argv) {
    // A client or pager that goes away is an error of one write, not the end of the process.
    signal(SIGPIPE, SIG_IGN);
    mosa_file_guard_install();
    return finish_output(dispatch(argc, argv));
}
