// mosa engine: one model in a process of its own, speaking the link's protocol. `mosa serve` starts it.
#include "base/file.h"
#include "base/thread.h"
#include "cli/command.h"
#include "cli/model_path.h"
#include "cli/settings.h"
#include "cli/sizes.h"
#include "link/link_server.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static bool is_inherited(const char *address) {
    return strncmp(address, "fd:", 3) == 0;
}

// An engine never outlives the gateway that started it, and when memory runs out it is the one to go: it can be started
// again, the gateway holds the connections.
static void depend_on_parent(void) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t n = write(fd, "300", 3);
    (void)n; // a wish, not a condition
    close(fd);
}

static mosa_status load_adapter(mosa_engine *engine, const char *text, mosa_error *err) {
    char name[MOSA_ADAPTER_NAME_MAX + 1];
    const char *path;
    MOSA_TRY(mosa_adapter_argument(text, name, &path, err));
    return mosa_engine_adapter_load(engine, name, path, err);
}

static mosa_status open_engine(const mosa_settings *settings, mosa_engine **out, mosa_error *err) {
    if (settings->models.models.count != 1)
        return mosa_fail(err, MOSA_EINVALID, "an engine runs one --model, not %zu", settings->models.models.count);
    MOSA_AUTO_FREE char *path = NULL;
    MOSA_TRY(mosa_model_path_find(settings->models.models.items[0], &path, err));
    MOSA_AUTO_FREE char *draft = NULL;
    if (settings->engine.draft_model) MOSA_TRY(mosa_model_path_find(settings->engine.draft_model, &draft, err));
    mosa_engine_options options = {
        .model = path,
        .device = settings->engine.device,
        .quantize = settings->engine.quantize,
        .kv_type = settings->engine.kv_type,
        .threads = (int)settings->engine.threads,
        .context_tokens = settings->engine.context_tokens,
        .kv_memory_bytes = settings->engine.kv_memory_bytes,
        .max_sequences = (int)settings->engine.max_sequences,
        .max_queued = (int)settings->engine.max_queued,
        .max_batch_tokens = (int)settings->engine.max_batch_tokens,
        .no_prefix_cache = !settings->engine.prefix_cache,
        .max_adapters = (int)settings->engine.max_adapters,
        .max_adapter_rank = (int)settings->engine.max_adapter_rank,
        .speculate = settings->engine.speculate,
        .draft_model = draft,
        .draft_tokens = (int)settings->engine.draft_tokens,
    };
    mosa_engine *engine;
    MOSA_TRY(mosa_engine_open(&options, &engine, err));
    mosa_status status = MOSA_OK;
    for (size_t i = 0; status == MOSA_OK && i < settings->models.adapters.count; i++)
        status = load_adapter(engine, settings->models.adapters.items[i], err);
    if (status == MOSA_OK)
        *out = engine;
    else
        mosa_engine_close(engine);
    return status;
}

// SIGTERM drains, a second one ends at once.
static void wait_for_signals(void *user) {
    sigset_t stops;
    int got;
    sigemptyset(&stops);
    sigaddset(&stops, SIGTERM);
    sigaddset(&stops, SIGINT);
    sigaddset(&stops, SIGUSR1); // the server has ended
    if (sigwait(&stops, &got) == 0 && got != SIGUSR1) {
        mosa_link_server_drain(user);
        if (sigwait(&stops, &got) == 0 && got != SIGUSR1) mosa_link_server_stop(user);
    }
}

static mosa_status serve(mosa_link_server *server, mosa_error *err) {
    sigset_t stops;
    mosa_thread signals = {0};
    sigemptyset(&stops);
    sigaddset(&stops, SIGTERM);
    sigaddset(&stops, SIGINT);
    sigaddset(&stops, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &stops, NULL);
    MOSA_TRY(mosa_thread_start(&signals, "signals", wait_for_signals, server, err));
    mosa_status status = mosa_link_server_run(server, err);
    pthread_kill(signals.handle, SIGUSR1);
    mosa_thread_join(&signals);
    return status;
}

static mosa_status run(mosa_command_call *call, mosa_error *err) {
    const mosa_settings *settings = call->values;
    const char *address = call->arguments.items[0];
    mosa_settings_apply_log(settings);
    if (is_inherited(address)) depend_on_parent();
    mosa_engine *engine;
    MOSA_TRY(open_engine(settings, &engine, err));
    if (!is_inherited(address)) { // a gateway that started it shows this itself
        mosa_engine_info info;
        mosa_engine_get_info(engine, &info);
        mosa_print_sizes(stdout, &info);
        fflush(stdout);
    }
    mosa_link_server_options options = {
        .address = address,
        .token = getenv("MOSA_LINK_TOKEN"),
        // What has ended for the engine may still be on its way out here.
        .max_requests = 2 * (int)(settings->engine.max_sequences + settings->engine.max_queued),
    };
    mosa_link_server *server;
    mosa_status status = mosa_link_server_create(&options, engine, &server, err);
    if (status == MOSA_OK) {
        status = serve(server, err);
        mosa_link_server_destroy(server);
    }
    mosa_engine_close(engine);
    return status;
}

const mosa_command mosa_command_engine = {
    .name = "engine",
    .group = MOSA_GROUP_HIDDEN,
    .summary = "Run one model as a process for a gateway",
    .usage = "ADDRESS",
    .description = "ADDRESS is where the gateway is met: fd:N for an inherited socket, a path for a unix socket to "
                   "listen on, or host:port. TCP needs the secret MOSA_LINK_TOKEN in the environment.",
    .options = &mosa_settings_engine_table,
    .values_bytes = sizeof(mosa_settings),
    .min_arguments = 1,
    .max_arguments = 1,
    .run = run,
};
