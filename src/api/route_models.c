// GET /v1/models and /v1/models/{id}: the served models, each followed by its adapters.
#include "api/api_internal.h"
#include "api/output.h"
#include "api/routes.h"
#include "codec/json.h"

typedef struct listing {
    const mosa_api_model *model;
    mosa_buf *out;
    const char *only; // NULL = all
    int n;
} listing;

static void begin_entry(listing *list, const char *id) {
    if (list->n++) mosa_buf_append_char(list->out, ',');
    mosa_buf_append_str(list->out, "{\"id\":");
    mosa_json_append_string(list->out, mosa_slice_of(id));
    mosa_buf_append_str(list->out, ",\"object\":\"model\",\"created\":");
    mosa_output_int(list->out, list->model->api->created_s);
    mosa_buf_append_str(list->out, ",\"owned_by\":\"mosa\"");
}

static void append_model(listing *list) {
    if (list->only && strcmp(list->only, list->model->name) != 0) return;
    begin_entry(list, list->model->name);
    mosa_buf_append_char(list->out, '}');
}

static void append_adapter(void *user, const mosa_gateway_adapter *adapter) {
    listing *list = user;
    if (list->only && strcmp(list->only, adapter->name) != 0) return;
    begin_entry(list, adapter->name);
    mosa_buf_append_str(list->out, ",\"root\":");
    mosa_json_append_string(list->out, mosa_slice_of(adapter->path));
    mosa_buf_append_str(list->out, ",\"parent\":");
    mosa_json_append_string(list->out, mosa_slice_of(list->model->name));
    mosa_buf_append_char(list->out, '}');
}

// Appends what the list asks for; returns how many entries.
static int append_all(mosa_http_request *request, const char *only) {
    listing list = {.out = &request->reply, .only = only};
    for (int i = 0; i < request->api->options.n_models; i++) {
        list.model = &request->api->models[i];
        append_model(&list);
        mosa_gateway_each_adapter(list.model->gateway, append_adapter, &list);
    }
    return list.n;
}

void mosa_route_models(mosa_http_request *request) {
    mosa_buf_append_str(&request->reply, "{\"object\":\"list\",\"data\":[");
    append_all(request, NULL);
    mosa_buf_append_str(&request->reply, "]}");
    mosa_http_reply_json(request, 200);
}

void mosa_route_model(mosa_http_request *request) {
    if (append_all(request, request->argument) > 0)
        mosa_http_reply_json(request, 200);
    else
        mosa_api_fail(&request->error, 404, "model_not_found", "model", "The model '%.200s' does not exist.",
                      request->argument);
}
