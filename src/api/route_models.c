// GET /v1/models and /v1/models/{id}.
#include "api/api_internal.h"
#include "api/output.h"
#include "api/routes.h"
#include "codec/json.h"

static void append_model(const mosa_api_model *model, mosa_buf *out) {
    mosa_buf_append_str(out, "{\"id\":");
    mosa_json_append_string(out, mosa_slice_of(model->name));
    mosa_buf_append_str(out, ",\"object\":\"model\",\"created\":");
    mosa_output_int(out, model->api->created_s);
    mosa_buf_append_str(out, ",\"owned_by\":\"mosa\"}");
}

void mosa_route_models(mosa_http_request *request) {
    const mosa_api *api = request->api;
    mosa_buf_append_str(&request->reply, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < api->options.n_models; i++) {
        if (i) mosa_buf_append_char(&request->reply, ',');
        append_model(&api->models[i], &request->reply);
    }
    mosa_buf_append_str(&request->reply, "]}");
    mosa_http_reply_json(request, 200);
}

void mosa_route_model(mosa_http_request *request) {
    const mosa_api *api = request->api;
    for (int i = 0; i < api->options.n_models; i++) {
        if (strcmp(api->models[i].name, request->argument) != 0) continue;
        append_model(&api->models[i], &request->reply);
        mosa_http_reply_json(request, 200);
        return;
    }
    mosa_api_fail(&request->error, 404, "model_not_found", "model", "The model '%.200s' does not exist.",
                  request->argument);
}
