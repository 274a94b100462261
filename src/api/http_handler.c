// From a complete request to its answer: body, schema, handler; on an HTTP thread or on the worker.
#include "api/api_internal.h"
#include "api/messages.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "codec/json.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>

enum { BODY_DEPTH_MAX = 64 };

uint64_t mosa_api_random(mosa_api *api) {
    return mosa_rng_u64(api->random, atomic_fetch_add(&api->sequence, 1));
}

bool mosa_api_choose_model(mosa_http_request *request) {
    mosa_api *api = request->api;
    const char *name = json_string_value(json_object_get(request->json, "model"));
    if (!name) return true;
    for (int i = 0; i < api->options.n_models; i++) {
        request->model = &api->models[i];
        if (strcmp(name, request->model->name) == 0) return true;
    }
    for (int i = 0; i < api->options.n_models && strlen(name) < sizeof request->adapter; i++) {
        request->model = &api->models[i];
        if (!mosa_gateway_has_adapter(request->model->gateway, name)) continue;
        memcpy(request->adapter, name, strlen(name) + 1);
        return true;
    }
    mosa_api_fail(&request->error, 404, "model_not_found", "model", "The model '%.200s' does not exist.", name);
    return false;
}

void mosa_http_reply_json(mosa_http_request *request, int status) {
    mosa_http_reply_text(request, status, "application/json");
}

void mosa_http_reply_text(mosa_http_request *request, int status, const char *content_type) {
    request->status = status;
    request->content_type = content_type;
}

void mosa_http_append_error(const mosa_http_request *request, const mosa_api_error *error, mosa_buf *out) {
    if (request->route && request->route->anthropic)
        mosa_messages_error_append(out, error, request->id);
    else
        mosa_api_error_append(out, error);
}

bool mosa_http_begin_call(mosa_http_request *request, const mosa_call_format *format, int n_choices,
                          const char *id_prefix) {
    mosa_api *api = request->api;
    if (!mosa_gateway_admit(request->model->gateway, &request->error)) return false;
    request->call = mosa_call_create(request, format, n_choices);
    if (!request->call) {
        mosa_gateway_release(request->model->gateway);
        mosa_api_fail(&request->error, 503, "out_of_memory", NULL, "The server is out of memory. Please retry.");
        return false;
    }
    mosa_call *call = request->call;
    snprintf(call->id, sizeof call->id, "%s%016llx%016llx", id_prefix, (unsigned long long)mosa_api_random(api),
             (unsigned long long)mosa_api_random(api));
    call->created_s = mosa_clock_real_s();
    return true;
}

static size_t route_index(const mosa_route *route) {
    return (size_t)(route - mosa_routes);
}

// Parses and checks the body; false with request->error.
static bool read_body(mosa_http_request *request) {
    const mosa_json_limits limits = {(size_t)request->api->options.max_body_bytes, BODY_DEPTH_MAX};
    mosa_error err;
    char path[MOSA_SCHEMA_PATH_MAX] = "";
    mosa_status status = mosa_json_parse(mosa_buf_slice(&request->body), &limits, &request->json, &err);
    if (status != MOSA_OK) {
        mosa_api_error_set(&request->error, &err, NULL);
        char cause[sizeof request->error.message];
        memcpy(cause, request->error.message, sizeof cause);
        snprintf(request->error.message, sizeof request->error.message, "We could not parse the body as JSON: %.500s",
                 cause);
        return false;
    }
    mosa_buf_finish(&request->body);
    status = mosa_schema_check(request->api->schemas[route_index(request->route)], request->json, path, &err);
    if (status != MOSA_OK) mosa_api_error_set(&request->error, &err, path);
    return status == MOSA_OK;
}

void mosa_http_run_handler(mosa_http_request *request) {
    if (request->route->schema && !read_body(request)) return;
    request->route->handler(request);
    json_decref(request->json);
    request->json = NULL;
    if (request->call && request->error.http) { // it failed after it had begun
        mosa_call_destroy(request->call);
        request->call = NULL;
        mosa_gateway_release(request->model->gateway);
    }
}

void mosa_http_worker_main(void *user) {
    mosa_api *api = user;
    void *item;
    while (mosa_queue_pop(api->work, &item, MOSA_DEADLINE_NEVER) == MOSA_OK) {
        mosa_http_request *request = item;
        mosa_http_run_handler(request);
        if (request->call) {
            request->phase = MOSA_HTTP_CALLING;
            request->submitted = true;
            mosa_gateway_submit(request->model->gateway, request->call);
        } else {
            mosa_http_resume(request);
        }
    }
}

void mosa_http_resume(mosa_http_request *request) {
    atomic_fetch_sub(&request->api->suspended, 1);
    MHD_resume_connection(request->connection);
}

void mosa_http_request_destroy(mosa_http_request *request) {
    if (!request) return;
    mosa_call_destroy(request->call);
    mosa_buf_finish(&request->body);
    mosa_buf_finish(&request->reply);
    json_decref(request->json);
    free(request);
}
