// mosa pull: fetches a model from a hub, or goes on where an earlier pull stopped.
#include "cli/command.h"
#include "cli/model_path.h"
#include "platform/hub.h"

#include "base/clock.h"
#include "base/file.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct pull_values {
    const char *folder;
} pull_values;

static const mosa_option options[] = {
    {.flag = "--to",
     .aliases = "--local-dir -o",
     .type = MOSA_OPTION_STRING,
     .value = "FOLDER",
     .help = "Where to put the files. Default: below $MOSA_HOME/models, where other commands find them by name.",
     MOSA_OPTION_FIELD(pull_values, folder)},
};
static const mosa_option_table table = {.options = options, .n_options = MOSA_COUNT(options)};

static volatile sig_atomic_t interrupted;
static void on_interrupt(int signal_number) {
    (void)signal_number;
    interrupted = 1;
}

typedef struct bar {
    uint64_t begin_ns;
    int64_t begin_bytes; // of this file, when its transfer began
    const char *file;
    bool terminal;
} bar;

enum { BAR_WIDTH = 24 };

static void draw(const bar *b, int64_t done, int64_t total) {
    double seconds = (double)(mosa_clock_ns() - b->begin_ns) * 1e-9;
    double rate = seconds > 0.2 ? (double)(done - b->begin_bytes) / seconds : 0;
    int filled = total > 0 ? (int)(done * BAR_WIDTH / total) : 0;
    char blocks[BAR_WIDTH + 1];
    for (int i = 0; i < BAR_WIDTH; i++) blocks[i] = i < filled ? '#' : '.';
    blocks[BAR_WIDTH] = '\0';
    fprintf(stderr, "\r\033[K%-40.40s [%s] %8.1f of %.1f MB", b->file, blocks, (double)done * 1e-6,
            (double)total * 1e-6);
    if (rate > 0) fprintf(stderr, "  %6.1f MB/s", rate * 1e-6);
    if (rate > 0 && total > done) fprintf(stderr, "  %.0f s left", (double)(total - done) / rate);
}

static bool on_progress(void *user, const char *file, int64_t done, int64_t total) {
    bar *b = user;
    if (b->file != file) *b = (bar){mosa_clock_ns(), done, file, b->terminal};
    if (b->terminal) draw(b, done, total);
    return !interrupted;
}

static mosa_status fetch_all(const mosa_hub *hub, const mosa_hub_name *name, const mosa_hub_listing *listing,
                             const char *folder, mosa_error *err) {
    bar progress = {.terminal = isatty(STDERR_FILENO)};
    for (size_t i = 0; i < listing->n_files; i++) {
        if (!listing->files[i].wanted) continue;
        mosa_status status = mosa_hub_fetch(hub, name, &listing->files[i], folder, on_progress, &progress, err);
        if (progress.terminal)
            fputc('\n', stderr);
        else if (status == MOSA_OK)
            fprintf(stderr, "%s: complete\n", listing->files[i].name);
        if (status != MOSA_OK) return status;
    }
    return MOSA_OK;
}

static mosa_status run(mosa_command_call *call, mosa_error *err) {
    const pull_values *values = call->values;
    mosa_hub hub = mosa_hub_from_env();
    mosa_hub_name name;
    mosa_hub_listing listing;
    MOSA_AUTO_FREE char *home = NULL;
    MOSA_TRY(mosa_hub_parse_name(call->arguments.items[0], call->arena, &name, err));
    MOSA_TRY(mosa_model_home(&home, err));
    MOSA_AUTO_FREE char *folder = values->folder ? strdup(values->folder) : mosa_path_join(home, name.repo);
    if (!folder) return mosa_fail(err, MOSA_ENOMEM, "out of memory for a path");
    MOSA_TRY(mosa_hub_list(&hub, &name, call->arena, &listing, err));
    MOSA_TRY(mosa_hub_choose(&name, &listing, err));
    struct sigaction ours = {.sa_handler = on_interrupt}, before;
    sigaction(SIGINT, &ours, &before);
    mosa_status status = fetch_all(&hub, &name, &listing, folder, err);
    sigaction(SIGINT, &before, NULL);
    if (status != MOSA_OK) return status;
    printf("%s\n", folder);
    fprintf(stderr, "\nServe it:   mosa serve --model %s\nTalk to it: mosa chat %s\n", call->arguments.items[0],
            call->arguments.items[0]);
    return MOSA_OK;
}

extern const mosa_command mosa_command_pull;
const mosa_command mosa_command_pull = {
    .name = "pull",
    .group = MOSA_GROUP_MODELS,
    .summary = "Fetch a model from a hub",
    .usage = "hf:ORG/NAME[@REVISION][:FILE]",
    .description =
        "Goes on where an earlier pull stopped and verifies every checksum. HF_ENDPOINT names another hub or a "
        "mirror, HF_TOKEN a token for models that need one.\n\n"
        "  mosa pull hf:Qwen/Qwen3-0.6B\n"
        "  mosa pull hf:org/name-GGUF:name-Q4_K_M.gguf",
    .options = &table,
    .values_bytes = sizeof(pull_values),
    .min_arguments = 1,
    .max_arguments = 1,
    .run = run,
};
