// POST /v1/load_lora_adapter and /v1/unload_lora_adapter, as vLLM has them.
//
// A file that the engine can read is named by a path, so these are for operators: without an API key they are closed.
#include "api/api_internal.h"
#include "api/params.h"
#include "api/routes.h"
#include "codec/json.h"
#include "link/message.h"

// --- answers --------------------------------------------------------------------------------------------------------

static void note_nothing(mosa_call *call, mosa_choice *choice, const mosa_event *event) {
    (void)call;
    (void)choice;
    (void)event;
}

static void write_answer(const mosa_call *call, const char *what, mosa_buf *body) {
    mosa_buf_append_str(body, "{\"id\":");
    mosa_json_append_string(body, mosa_slice_of(call->http->adapter));
    mosa_buf_append_str(body, ",\"object\":\"model\",\"parent\":");
    mosa_json_append_string(body, mosa_slice_of(call->http->model->name));
    mosa_buf_append_str(body, ",\"status\":\"");
    mosa_buf_append_str(body, what);
    mosa_buf_append_str(body, "\"}");
}

static void loaded(mosa_call *call, mosa_buf *body) {
    write_answer(call, "loaded", body);
}
static void unloaded(mosa_call *call, mosa_buf *body) {
    write_answer(call, "unloaded", body);
}

static const mosa_call_format load_format = {note_nothing, loaded};
static const mosa_call_format unload_format = {note_nothing, unloaded};

// --- requests -------------------------------------------------------------------------------------------------------

static bool check_allowed(mosa_http_request *request) {
    if (request->api->options.api_keys.count > 0) return true;
    mosa_api_fail(&request->error, 403, "api_key_required", NULL,
                  "Adapters can be loaded and unloaded only on a server with an API key (--api-key).");
    return false;
}

// The adapter's name, into request->adapter; the model from "base_model_name", else the first.
static bool read_names(mosa_http_request *request) {
    const char *name = json_string_value(json_object_get(request->json, "lora_name"));
    const char *base = json_string_value(json_object_get(request->json, "base_model_name"));
    if (strlen(name) >= sizeof request->adapter) {
        mosa_api_fail(&request->error, 400, NULL, "lora_name", "lora_name has more than %d bytes.",
                      MOSA_ADAPTER_NAME_MAX);
        return false;
    }
    memcpy(request->adapter, name, strlen(name) + 1);
    mosa_api *api = request->api;
    for (int i = 0; base && i < api->options.n_models; i++) {
        request->model = &api->models[i];
        if (strcmp(request->model->name, base) == 0) return true;
    }
    if (!base) return true;
    mosa_api_fail(&request->error, 404, "model_not_found", "base_model_name", "The model '%.200s' does not exist.",
                  base);
    return false;
}

// The model whose adapter has this name, or NULL.
static mosa_api_model *owner_of(mosa_api *api, const char *name) {
    for (int i = 0; i < api->options.n_models; i++)
        if (mosa_gateway_has_adapter(api->models[i].gateway, name)) return &api->models[i];
    return NULL;
}

static bool is_taken(mosa_http_request *request) {
    mosa_api *api = request->api;
    bool taken = owner_of(api, request->adapter) != NULL;
    for (int i = 0; i < api->options.n_models; i++) taken |= strcmp(api->models[i].name, request->adapter) == 0;
    if (taken)
        mosa_api_fail(&request->error, 400, NULL, "lora_name", "The lora adapter '%.128s' has already been loaded.",
                      request->adapter);
    return taken;
}

static void begin(mosa_http_request *request, const mosa_call_format *format, const mosa_link_adapter *adapter) {
    if (!mosa_http_begin_call(request, format, 1, "lora-")) return;
    mosa_buf *frame = &request->call->choices[0].frame;
    mosa_link_put_adapter(frame, 0, adapter);
    if (mosa_buf_failed(frame))
        mosa_api_fail(&request->error, 503, "out_of_memory", NULL, "The server is out of memory. Please retry.");
}

void mosa_route_load_adapter(mosa_http_request *request) {
    if (!check_allowed(request) || !read_names(request) || is_taken(request)) return;
    const json_t *path = json_object_get(request->json, "lora_path");
    mosa_link_adapter adapter = {.load = true};
    if (json_string_length(path) >= sizeof adapter.path ||
        strlen(json_string_value(path)) != json_string_length(path)) {
        mosa_api_fail(&request->error, 400, NULL, "lora_path", "lora_path is not a path.");
        return;
    }
    memcpy(adapter.name, request->adapter, sizeof adapter.name);
    memcpy(adapter.path, json_string_value(path), json_string_length(path) + 1);
    begin(request, &load_format, &adapter);
}

void mosa_route_unload_adapter(mosa_http_request *request) {
    if (!check_allowed(request) || !read_names(request)) return;
    mosa_api_model *owner = owner_of(request->api, request->adapter);
    if (!owner) {
        mosa_api_fail(&request->error, 404, "model_not_found", "lora_name",
                      "The lora adapter '%.128s' cannot be found.", request->adapter);
        return;
    }
    request->model = owner;
    mosa_link_adapter adapter = {.load = false};
    memcpy(adapter.name, request->adapter, sizeof adapter.name);
    begin(request, &unload_format, &adapter);
}
