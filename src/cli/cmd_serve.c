// mosa serve: the gateway. Starts engines, answers HTTP, and tells the person at the terminal how to use it.
//
// The main thread waits for signals and for news of the engines; everything else happens in api/.
#include "api/api.h"
#include "base/clock.h"
#include "base/file.h"
#include "cli/command.h"
#include "cli/model_path.h"
#include "cli/settings.h"
#include "cli/sizes.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { ENGINE_ARGUMENTS = 24, KILL_AFTER_MS = 5000, MAX_CHOICES = 2048, DRAIN_POLL_MS = 50 };

typedef struct server {
    const mosa_settings *settings;
    mosa_api *api;
    mosa_api_model_options models[MOSA_API_MODELS_MAX];
    int n_models;
    int signal_fd, news_fd; // news_fd: an engine's state has changed
    bool introduced[MOSA_API_MODELS_MAX];
} server;

// --- models and engines ---------------------------------------------------------------------------------------------

// What clients call a model that was given without a name: "dir/tiny.gguf" is tiny, "hf:org/name:file" is org/name.
static const char *default_name(mosa_arena *arena, const char *text) {
    if (mosa_file_exists(text)) {
        size_t len = strlen(text);
        while (len > 1 && text[len - 1] == '/') len--;
        char *name = mosa_arena_strndup(arena, text, len);
        const char *base = name ? mosa_path_base(name) : NULL;
        const char *suffix = base ? strstr(base, ".gguf") : NULL;
        return suffix && suffix > base ? mosa_arena_strndup(arena, base, (size_t)(suffix - base)) : base;
    }
    if (strncmp(text, "hf:", 3) == 0) text += 3;
    return mosa_arena_strndup(arena, text, strcspn(text, ":"));
}

// "NAME=PATH" or "PATH": a name has no slash, so a path with an equals sign in a folder's name is still a path.
static mosa_status name_model(mosa_command_call *call, server *server, int index, mosa_error *err) {
    const mosa_settings *settings = server->settings;
    const char *text = settings->models.models.items[index], *equals = strchr(text, '=');
    mosa_api_model_options *model = &server->models[index];
    if (equals && equals > text && !memchr(text, '/', (size_t)(equals - text))) {
        model->name = mosa_arena_strndup(call->arena, text, (size_t)(equals - text));
        text = equals + 1;
    }
    if ((size_t)index < settings->models.served_names.count) model->name = settings->models.served_names.items[index];
    MOSA_AUTO_FREE char *path = NULL;
    MOSA_TRY(mosa_model_path_find(text, &path, err));
    model->path = mosa_arena_strdup(call->arena, path);
    if (!model->name) model->name = default_name(call->arena, text);
    return model->path && model->name ? MOSA_OK : mosa_fail(err, MOSA_ENOMEM, "out of memory");
}

static const char *number(mosa_arena *arena, int64_t value) {
    return mosa_arena_printf(arena, "%" PRId64, value);
}

static mosa_status build_engine_argv(mosa_command_call *call, server *server, int index, mosa_error *err) {
    const mosa_settings *s = server->settings;
    mosa_arena *arena = call->arena;
    const char *const arguments[] = {
        s->engine.program ? s->engine.program : "/proc/self/exe",
        "engine",
        "fd:3",
        "--model",
        server->models[index].path,
        "--device",
        s->engine.device,
        "--threads",
        number(arena, s->engine.threads),
        "--max-model-len",
        number(arena, s->engine.context_tokens),
        "--max-seqs",
        number(arena, s->engine.max_sequences),
        "--max-batch-tokens",
        number(arena, s->engine.max_batch_tokens),
        "--max-queue",
        number(arena, s->engine.max_queued),
        "--max-adapters",
        number(arena, s->engine.max_adapters),
        "--max-adapter-rank",
        number(arena, s->engine.max_adapter_rank),
        "--kv-type",
        s->engine.kv_type,
        "--kv-memory",
        number(arena, s->engine.kv_memory_bytes),
        s->engine.prefix_cache ? "--prefix-cache" : "--no-prefix-cache",
        "--draft-tokens",
        number(arena, s->engine.draft_tokens),
        "--log-level",
        s->log.level,
    };
    const char *const optional[][2] = {
        // left out without a value
        {"--quantize", s->engine.quantize},
        {"--speculate", s->engine.speculate},
        {"--draft-model", s->engine.draft_model},
    };
    size_t n = MOSA_COUNT(arguments);
    const char **argv = MOSA_ARENA_ARRAY(arena, const char *, n + 2 * MOSA_COUNT(optional) + 1);
    if (!argv) return mosa_fail(err, MOSA_ENOMEM, "out of memory");
    memcpy(argv, arguments, sizeof arguments);
    for (size_t i = 0; i < MOSA_COUNT(optional); i++) {
        if (!optional[i][1]) continue;
        argv[n++] = optional[i][0];
        argv[n++] = optional[i][1];
    }
    server->models[index].engine_argv = argv;
    return MOSA_OK;
}

// The gateway loads adapters into its engines, so that those dropped while running stay dropped when one restarts.
static mosa_status choose_adapters(mosa_command_call *call, server *server, mosa_error *err) {
    const mosa_string_list *texts = &server->settings->models.adapters;
    mosa_adapter_option *adapters = MOSA_ARENA_ARRAY(call->arena, mosa_adapter_option, texts->count);
    if (!adapters) return mosa_fail(err, MOSA_ENOMEM, "out of memory");
    for (size_t i = 0; i < texts->count; i++) {
        char name[MOSA_ADAPTER_NAME_MAX + 1];
        MOSA_TRY(mosa_adapter_argument(texts->items[i], name, &adapters[i].path, err));
        adapters[i].name = mosa_arena_strdup(call->arena, name);
        if (!adapters[i].name) return mosa_fail(err, MOSA_ENOMEM, "out of memory");
    }
    server->models[0].adapters = adapters;
    server->models[0].n_adapters = (int)texts->count;
    return MOSA_OK;
}

static mosa_status choose_models(mosa_command_call *call, server *server, mosa_error *err) {
    size_t count = server->settings->models.models.count;
    if (count == 0) {
        mosa_status refusal = mosa_fail(err, MOSA_EINVALID, "no model to serve");
        mosa_hint(err, "name one with --model: a GGUF file, a Hugging Face folder, or a pulled model");
        return refusal;
    }
    if (count > MOSA_API_MODELS_MAX)
        return mosa_fail(err, MOSA_ELIMIT, "%zu models are more than one server takes (%d)", count,
                         MOSA_API_MODELS_MAX);
    for (size_t i = 0; i < count; i++) {
        MOSA_TRY(name_model(call, server, (int)i, err));
        MOSA_TRY(build_engine_argv(call, server, (int)i, err));
    }
    server->n_models = (int)count;
    return choose_adapters(call, server, err);
}

// --- what the terminal shows ----------------------------------------------------------------------------------------

static const char *shown_host(const char *host) {
    bool any = strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
    return any ? "localhost" : host;
}

static void print_address(const server *server) {
    const char *host = shown_host(server->settings->server.host);
    printf(strchr(host, ':') ? "mosa %s at http://[%s]:%d\n" : "mosa %s at http://%s:%d\n", MOSA_VERSION, host,
           mosa_api_port(server->api));
    fflush(stdout);
}

static void print_engine(const server *server, int index, const mosa_engine_status *status) {
    const mosa_engine_info *info = &status->hello.info;
    const mosa_settings *s = server->settings;
    printf("model   %s (%s, %.1f M parameters, %s)\n", mosa_api_model_name(server->api, index), info->architecture,
           (double)info->parameters / 1e6, info->quantization);
    printf("engine  %s; ready in %.2f s\n", info->device, (double)info->load_ns / 1e9);
    mosa_print_sizes(stdout, info);
    const char *route = info->can_generate ? "chat/completions" : info->can_score ? "rerank" : "embeddings";
    const char *rest = info->can_generate ? "\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hello!\"}]"
                       : info->can_score  ? "\"query\":\"Hello?\",\"documents\":[\"Hello!\",\"Good bye.\"]"
                                          : "\"input\":\"Hello!\"";
    printf("try     curl http://%s:%d/v1/%s -H 'Content-Type: application/json'%s -d '{\"model\":\"%s\",%s}'\n",
           shown_host(s->server.host), mosa_api_port(server->api), route,
           s->server.api_keys.count ? " -H \"Authorization: Bearer $MOSA_SERVER_API_KEY\"" : "",
           mosa_api_model_name(server->api, index), rest);
    fflush(stdout);
}

// --- life -----------------------------------------------------------------------------------------------------------

static void on_engine(void *user, const char *model, const mosa_engine_status *status) {
    (void)model;
    (void)status;
    uint64_t one = 1;
    ssize_t n = write(((server *)user)->news_fd, &one, sizeof one);
    (void)n; // full: news are pending anyway
}

// Introduces engines that have become ready. An engine that cannot even start the first time is a wrong command line or
// a broken file, which is better told now than by 503 for ever.
static mosa_status take_news(server *server, mosa_error *err) {
    uint64_t count;
    ssize_t n = read(server->news_fd, &count, sizeof count);
    (void)n;
    for (int i = 0; i < server->n_models; i++) {
        mosa_engine_status status;
        mosa_api_get_status(server->api, i, &status);
        if (server->introduced[i]) continue;
        if (status.state == MOSA_ENGINE_FAILED)
            return mosa_fail(err, MOSA_EUNAVAILABLE, "the engine of %s does not start: %s",
                             mosa_api_model_name(server->api, i), status.fault);
        if (status.state != MOSA_ENGINE_READY) continue;
        server->introduced[i] = true;
        print_engine(server, i, &status);
    }
    return MOSA_OK;
}

static bool signal_came(const server *server) {
    struct signalfd_siginfo info;
    return read(server->signal_fd, &info, sizeof info) == sizeof info;
}

static mosa_status wait_for_signal(server *server, mosa_error *err) {
    struct pollfd fds[] = {{.fd = server->signal_fd, .events = POLLIN}, {.fd = server->news_fd, .events = POLLIN}};
    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR) return mosa_fail_errno(err, errno, "waiting for signals");
        if (fds[0].revents && signal_came(server)) return MOSA_OK;
        if (fds[1].revents) MOSA_TRY(take_news(server, err));
    }
}

// Running requests get drain_timeout to finish; a second signal ends them at once.
static void drain(server *server) {
    mosa_deadline deadline = mosa_deadline_in_ms(server->settings->server.drain_timeout_ms);
    mosa_api_drain(server->api);
    int calls = mosa_api_calls(server->api);
    if (calls > 0) printf("finishing %d request%s; Ctrl-C again ends now\n", calls, calls == 1 ? "" : "s");
    fflush(stdout);
    while (mosa_api_calls(server->api) > 0 && !mosa_deadline_passed(deadline)) {
        struct pollfd fd = {.fd = server->signal_fd, .events = POLLIN};
        if (poll(&fd, 1, DRAIN_POLL_MS) > 0 && signal_came(server)) return;
    }
}

static mosa_status open_descriptors(server *server, mosa_error *err) {
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) { // one descriptor per connection, and some
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    sigset_t stops;
    sigemptyset(&stops);
    sigaddset(&stops, SIGINT);
    sigaddset(&stops, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &stops, NULL); // before any thread is started: all inherit it
    server->signal_fd = signalfd(-1, &stops, SFD_CLOEXEC | SFD_NONBLOCK);
    server->news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (server->signal_fd < 0 || server->news_fd < 0) return mosa_fail_errno(err, errno, "signalfd or eventfd");
    return MOSA_OK;
}

static mosa_api_options api_options(server *server) {
    const mosa_settings *s = server->settings;
    return (mosa_api_options){
        .host = s->server.host,
        .port = (int)s->server.port,
        .api_keys = s->server.api_keys,
        .origins = s->server.allowed_origins,
        .http_threads = (int)s->server.threads,
        .max_connections = (int)s->server.max_connections,
        .max_connections_per_ip = (int)s->server.max_connections_per_ip,
        .max_header_bytes = s->server.max_header_bytes,
        .max_body_bytes = s->server.max_body_bytes,
        .max_calls = (int)s->server.max_requests,
        .max_choices = MAX_CHOICES,
        .peer = {s->server.idle_timeout_ms, s->server.header_timeout_ms, s->server.body_timeout_ms,
                 s->server.body_timeout_ms},
        .call = {s->restart.wait_ms, s->server.request_timeout_ms, s->server.keep_alive_ms,
                 (size_t)s->server.stream_buffer_bytes, (int)s->server.max_requests},
        .supervisor = {.backoff_min_ms = s->restart.backoff_ms,
                       .backoff_max_ms = s->restart.backoff_max_ms,
                       .stable_ms = s->restart.stable_ms,
                       .start_timeout_ms = s->restart.start_timeout_ms,
                       .crash_limit = (int)s->restart.crash_limit},
        .seed = s->models.seed,
        .models = server->models,
        .n_models = server->n_models,
        .chat_template = s->models.chat_template,
        .on_engine = on_engine,
        .user = server,
    };
}

static mosa_status run(mosa_command_call *call, mosa_error *err) {
    server server = {.settings = call->values, .signal_fd = -1, .news_fd = -1};
    mosa_settings_apply_log(server.settings);
    mosa_status status = choose_models(call, &server, err);
    if (status == MOSA_OK) status = open_descriptors(&server, err);
    mosa_api_options options = api_options(&server);
    if (status == MOSA_OK) status = mosa_api_open(&options, &server.api, err);
    if (status == MOSA_OK) {
        print_address(&server);
        status = wait_for_signal(&server, err);
        if (status == MOSA_OK) drain(&server);
        mosa_api_close(server.api, KILL_AFTER_MS);
    }
    if (server.signal_fd >= 0) close(server.signal_fd);
    if (server.news_fd >= 0) close(server.news_fd);
    return status;
}

const mosa_command mosa_command_serve = {
    .name = "serve",
    .group = MOSA_GROUP_SERVE,
    .summary = "Serve models over OpenAI's HTTP API",
    .usage = "[--model [NAME=]PATH]...",
    .description = "Starts an engine process for each model and answers HTTP until it is told to stop.\n\n"
                   "  mosa serve --model model.gguf\n"
                   "  mosa serve --model small=a.gguf --model large=b.gguf --api-key SECRET",
    .options = &mosa_settings_table,
    .values_bytes = sizeof(mosa_settings),
    .min_arguments = 0,
    .max_arguments = 0,
    .reads_config = true,
    .run = run,
};
