// The API as a whole: opening its parts in order, and closing them in the other.
#include "api/api_internal.h"
#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

enum { WORK_QUEUE = 256, CLOSE_POLL_MS = 20, CLOSE_POLLS_MAX = 500 };

static void on_engine(void *user, const mosa_engine_status *status) {
    const mosa_api_model *model = user;
    const mosa_api_options *options = &model->api->options;
    if (options->on_engine) options->on_engine(options->user, model->name, status);
}

// Of the first gateway alone: connections are not divided among models.
static void on_tick(void *user, int64_t now_ms) {
    mosa_peers_sweep(((mosa_api_model *)user)->api->peers, now_ms);
}

static mosa_status copy_keys(mosa_api *api, mosa_error *err) {
    const mosa_string_list *keys = &api->options.api_keys;
    if (keys->count > API_KEYS_MAX) return mosa_fail(err, MOSA_ELIMIT, "more than %d API keys", API_KEYS_MAX);
    for (size_t i = 0; i < keys->count; i++) {
        size_t len = strlen(keys->items[i]);
        if (len == 0 || len >= API_KEY_MAX)
            return mosa_fail(err, MOSA_EINVALID, "an API key has 1 to %d bytes, not %zu", API_KEY_MAX - 1, len);
        memcpy(api->api_keys[i], keys->items[i], len);
    }
    return MOSA_OK;
}

static mosa_status compile_schemas(mosa_api *api, mosa_error *err) {
    api->schemas = calloc(mosa_n_routes, sizeof(mosa_schema *));
    if (!api->schemas) return mosa_fail(err, MOSA_ENOMEM, "out of memory");
    for (size_t i = 0; i < mosa_n_routes; i++)
        if (mosa_routes[i].schema) MOSA_TRY(mosa_schema_compile_text(mosa_routes[i].schema, &api->schemas[i], err));
    return MOSA_OK;
}

static mosa_status open_model(mosa_api *api, int index, mosa_error *err) {
    mosa_api_model *model = &api->models[index];
    const mosa_api_model_options *wanted = &api->options.models[index];
    model->api = api;
    MOSA_TRY(mosa_model_text_open(wanted->path, api->options.chat_template, &model->text, err));
    const char *name = wanted->name ? wanted->name : mosa_model_text_get_info(model->text)->name;
    if (strlen(name) >= sizeof model->name)
        return mosa_fail(err, MOSA_EINVALID, "the model name '%.40s...' has more than %zu bytes", name,
                         sizeof model->name - 1);
    memcpy(model->name, name, strlen(name) + 1);
    for (int i = 0; i < index; i++)
        if (strcmp(api->models[i].name, name) == 0)
            return mosa_fail(err, MOSA_EINVALID, "two models are called '%s'; name them with --model NAME=PATH", name);
    uint64_t print =
        mosa_hash_bytes(wanted->path, strlen(wanted->path), mosa_hash_bytes(MOSA_VERSION, sizeof MOSA_VERSION, 0));
    snprintf(model->fingerprint, sizeof model->fingerprint, "fp_%012llx", (unsigned long long)(print & 0xffffffffffff));
    model->can = mosa_chat_template_probe(mosa_model_text_template(model->text, false));
    model->can_with_tools = mosa_chat_template_probe(mosa_model_text_template(model->text, true));
    mosa_gateway_options options = {.engine = api->options.supervisor,
                                    .limits = api->options.call,
                                    .metrics = api->metrics,
                                    .on_tick = index == 0 ? on_tick : NULL,
                                    .on_engine = on_engine,
                                    .user = model};
    options.engine.argv = wanted->engine_argv;
    options.engine.name = model->name;
    options.adapters = wanted->adapters;
    options.n_adapters = wanted->n_adapters;
    return mosa_gateway_create(&options, &model->gateway, err);
}

static mosa_status open_parts(mosa_api *api, mosa_error *err) {
    MOSA_TRY(copy_keys(api, err));
    if (getrandom(&api->random, sizeof api->random, 0) != sizeof api->random)
        return mosa_fail(err, MOSA_EIO, "the system gives no random numbers");
    MOSA_TRY(mosa_api_metrics_create(&api->metrics, err));
    MOSA_TRY(mosa_peers_create(&api->options.peer, &api->peers, err));
    MOSA_TRY(compile_schemas(api, err));
    api->models = calloc((size_t)api->options.n_models, sizeof *api->models);
    if (!api->models) return mosa_fail(err, MOSA_ENOMEM, "out of memory");
    for (int i = 0; i < api->options.n_models; i++) MOSA_TRY(open_model(api, i, err));
    MOSA_TRY(mosa_queue_create(WORK_QUEUE, &api->work, err));
    MOSA_TRY(mosa_thread_start(&api->worker, "api-worker", mosa_http_worker_main, api, err));
    // The port is taken before engines are started: a second server on it must not load the model first.
    MOSA_TRY(mosa_http_server_start(api, err));
    for (int i = 0; i < api->options.n_models; i++) MOSA_TRY(mosa_gateway_start(api->models[i].gateway, err));
    return MOSA_OK;
}

mosa_status mosa_api_open(const mosa_api_options *options, mosa_api **out, mosa_error *err) {
    if (options->n_models < 1 || options->n_models > MOSA_API_MODELS_MAX)
        return mosa_fail(err, MOSA_EINVALID, "1 to %d models can be served, not %d", MOSA_API_MODELS_MAX,
                         options->n_models);
    mosa_api *api = calloc(1, sizeof *api);
    if (!api) return mosa_fail(err, MOSA_ENOMEM, "out of memory");
    api->options = *options;
    api->listen_fd = -1;
    api->created_s = mosa_clock_real_s();
    mosa_status status = open_parts(api, err);
    if (status != MOSA_OK) {
        mosa_api_close(api, 0);
        return status;
    }
    *out = api;
    return MOSA_OK;
}

int mosa_api_port(const mosa_api *api) {
    return api->port;
}
const char *mosa_api_model_name(const mosa_api *api, int model) {
    return api->models[model].name;
}

void mosa_api_get_status(mosa_api *api, int model, mosa_engine_status *out) {
    mosa_gateway_get_status(api->models[model].gateway, out);
}

void mosa_api_drain(mosa_api *api) {
    mosa_http_server_quiesce(api);
    for (int i = 0; i < api->options.n_models; i++) mosa_gateway_drain(api->models[i].gateway);
}

int mosa_api_calls(mosa_api *api) {
    int calls = 0;
    for (int i = 0; i < api->options.n_models; i++) calls += mosa_gateway_calls(api->models[i].gateway);
    return calls;
}

// libmicrohttpd must not be stopped while a connection is suspended: calls are ended until none is left. Bounded, so
// that a defect here cannot keep the process alive.
static void end_calls(mosa_api *api) {
    for (int i = 0; i < CLOSE_POLLS_MAX && (mosa_api_calls(api) > 0 || atomic_load(&api->suspended) > 0); i++) {
        for (int m = 0; m < api->options.n_models; m++) mosa_gateway_abort(api->models[m].gateway);
        mosa_sleep_until(mosa_deadline_in_ms(CLOSE_POLL_MS));
    }
}

static void close_model(mosa_api_model *model) {
    mosa_gateway_destroy(model->gateway);
    mosa_model_text_close(model->text);
}

void mosa_api_close(mosa_api *api, int64_t kill_after_ms) {
    if (!api) return;
    bool served = api->daemon != NULL;
    if (served) {
        mosa_api_drain(api);
        end_calls(api);
    }
    mosa_http_server_stop(api);
    if (api->work) mosa_queue_close(api->work);
    mosa_thread_join(&api->worker);
    for (int i = 0; api->models && i < api->options.n_models; i++)
        if (api->models[i].gateway) mosa_gateway_stop(api->models[i].gateway, kill_after_ms);
    for (int i = 0; api->models && i < api->options.n_models; i++) close_model(&api->models[i]);
    for (size_t i = 0; api->schemas && i < mosa_n_routes; i++) mosa_schema_destroy(api->schemas[i]);
    mosa_queue_destroy(api->work);
    mosa_peers_destroy(api->peers);
    mosa_metrics_destroy(api->metrics);
    free(api->schemas);
    free(api->models);
    free(api);
}
