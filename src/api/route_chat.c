// POST /v1/chat/completions.
#include "api/api_internal.h"
#include "api/chat_chunk.h"
#include "api/chat_request.h"
#include "api/output.h"
#include "api/routes.h"

static bool refuse(mosa_http_request *request, const char *param, const char *what) {
    mosa_api_fail(&request->error, 400, "unsupported", param, "%s: %s", param, what);
    return false;
}

// What is well formed but not done here is refused by name, never ignored.
static bool check_supported(mosa_http_request *request) {
    const json_t *body = request->json;
    if (mosa_body_has(body, "function_call") || mosa_body_has(body, "functions"))
        return refuse(request, mosa_body_has(body, "functions") ? "functions" : "function_call",
                      "is deprecated and not supported; use tools.");
    const json_t *modalities = json_object_get(body, "modalities");
    for (size_t i = 0; i < json_array_size(modalities); i++)
        if (strcmp(json_string_value(json_array_get(modalities, i)), "text") != 0)
            return refuse(request, "modalities", "only text is supported.");
    if (mosa_body_has(body, "audio")) return refuse(request, "audio", "only text is supported.");
    if (mosa_body_has(body, "top_logprobs") && !mosa_body_bool(body, "logprobs", false)) {
        mosa_api_fail(&request->error, 400, NULL, "top_logprobs", "top_logprobs needs logprobs to be true.");
        return false;
    }
    if (json_is_integer(json_object_get(body, "max_tokens")) && mosa_body_int(body, "max_tokens", 1) < 1) {
        mosa_api_fail(&request->error, 400, NULL, "max_tokens", "max_tokens must be at least 1.");
        return false;
    }
    return true;
}

static bool build_call(mosa_http_request *request, const mosa_chat_request *chat) {
    bool hide_reasoning = !mosa_body_bool(request->json, "include_reasoning", true);
    if (!mosa_chat_request_begin(request, chat, &mosa_chat_format, "chatcmpl-", hide_reasoning)) return false;
    mosa_call *call = request->call;
    if (call->stream) mosa_output_prefix(request->model, call, "chat.completion.chunk", &call->prefix);
    if (mosa_buf_failed(&call->prefix))
        mosa_api_fail(&request->error, 503, "out_of_memory", NULL, "The server is out of memory. Please retry.");
    return request->error.http == 0;
}

void mosa_route_chat(mosa_http_request *request) {
    mosa_chat_request chat = {0};
    if (!mosa_api_choose_model(request) || !check_supported(request)) return;
    if (mosa_chat_request_read(request, &chat)) build_call(request, &chat);
    mosa_chat_request_finish(&chat);
}
