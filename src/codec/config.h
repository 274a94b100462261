// Configuration as a table: one row per setting makes the flag, the environment variable, the YAML key, the default,
// the checks, --help, a commented mosa.yaml and the documentation page.
//
//     typedef struct settings { int64_t port; const char *host; } settings;
//     static const mosa_option options[] = {
//         {"server.port", "--port", MOSA_OPTION_INT, "8000", .min = 0, .max = 65535, .value = "PORT",
//          .help = "Port to listen on; 0 picks a free one.", MOSA_OPTION_FIELD(settings, port)},
//     };
//
// In flags '-' and '_' are the same. The strongest source wins: flag, then environment, then mosa.yaml, then default.
// Commands use the same rows for their own flags; a row without a key is known to the command line only. Ownership:
// strings and lists of the parsed values live in the caller's arena. Thread: reentrant; tables are constant.
#ifndef MOSA_CODEC_CONFIG_H
#define MOSA_CODEC_CONFIG_H

#include "base/arena.h"
#include "base/status.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mosa_string_list {
    const char **items; // (count)
    size_t count;
} mosa_string_list;

// What a row's text becomes. The comment is the type of the field in the values struct.
typedef enum mosa_option_type {
    MOSA_OPTION_BOOL,     // bool: --x, --x=false, --no-x
    MOSA_OPTION_INT,      // int64_t within [min, max]
    MOSA_OPTION_FLOAT,    // double within [min, max]
    MOSA_OPTION_BYTES,    // int64_t: 512, 64K, 8MiB, 2G; within [min, max]
    MOSA_OPTION_DURATION, // int64_t milliseconds: 250ms, 30s, 5m, 2h, 1d, or plain seconds; [min, max] in milliseconds
    MOSA_OPTION_STRING,   // const char *, NULL when the default is NULL
    MOSA_OPTION_CHOICE,   // const char *: one of choices
    MOSA_OPTION_LIST,     // mosa_string_list: a repeated flag, a comma list in the environment, a sequence in YAML
} mosa_option_type;

typedef struct mosa_option {
    const char *key;  // "server.port": place in mosa.yaml; NULL = flag only
    const char *flag; // "--port"; NULL = file and environment only
    mosa_option_type type;
    const char *fallback; // default as text; NULL = false, 0, no string, empty list
    const char *value;    // placeholder in help ("PORT"); NULL = by type
    const char *help;     // one or two sentences; NULL = not in help and documentation
    const char *aliases;  // other flags, separated by spaces: "-p --listen-port"
    const char *env;      // NULL = made from the flag of a row with a key: --port is MOSA_PORT; "" = none
    const char *choices;  // CHOICE: "f16|f32"; also said of a STRING's well-known values when help needs it
    double min, max;      // both 0 = no bounds
    bool worded;          // BOOL: "--x True" is one flag too, as transformers' users write it
    bool secret;          // never printed, and a flag's value is not shown in errors
    size_t offset;        // of the field in the values struct
} mosa_option;

#define MOSA_OPTION_FIELD(type, field) .offset = offsetof(type, field)

// Rows whose key begins with "<name>." belong to a section; sections order help and docs.
typedef struct mosa_option_section {
    const char *name;  // "server"
    const char *title; // "Server"
    const char *help;  // one sentence or NULL
} mosa_option_section;

typedef struct mosa_option_table {
    const mosa_option *options; // (n_options)
    size_t n_options;
    const mosa_option_section *sections; // (n_sections); none for a command's own flags
    size_t n_sections;
} mosa_option_table;

// --- reading ------------------------------------------------------------------------------------------------------

// What to read, strongest first. All optional.
typedef struct mosa_option_sources {
    int argc;                // arguments without the program's and the command's name
    const char *const *argv; // borrowed
    const char *const *env;  // "NAME=value", NULL-terminated (environ); NULL = no environment
    const char *yaml_path;   // NULL = no file
} mosa_option_sources;

// Fills every field of *values and hands out what is not a flag ("--" ends the flags; "-" is not one). `values` is the
// struct that the rows' offsets belong to. An unknown flag or key is MOSA_EINVALID with "did you mean" as the hint;
// messages name the flag, the variable, or file and key. Also MOSA_ENOTFOUND/MOSA_EIO for the file, MOSA_ENOMEM.
MOSA_MUST_USE mosa_status mosa_options_read(const mosa_option_table *table, const mosa_option_sources *sources,
                                            mosa_arena *arena, void *values, mosa_string_list *arguments,
                                            mosa_error *err);

// The nearest of `count` words by edit distance, or NULL when none is near: for "did you mean". Borrowed.
const char *mosa_nearest_word(const char *word, const char *const *words, size_t count);

// --- writing ------------------------------------------------------------------------------------------------------

void mosa_options_help(const mosa_option_table *table, mosa_buf *out); // for a terminal, 100 columns
void mosa_options_yaml(const mosa_option_table *table, mosa_buf *out); // mosa.yaml, all keys commented out
void mosa_options_docs(const mosa_option_table *table, mosa_buf *out); // Markdown tables
// The values in effect, one "key: value" per line as YAML; secrets are masked.
void mosa_options_show(const mosa_option_table *table, const void *values, mosa_buf *out);

#endif
