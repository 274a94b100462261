// POST /v1/chat/completions.
#include "api/api_internal.h"
#include "api/chat_messages.h"
#include "api/output.h"
#include "api/params.h"
#include "api/routes.h"
#include "codec/json.h"

#include <stdlib.h>

// --- answers --------------------------------------------------------------------------------------------------------

static void begin_delta(mosa_call *call, const mosa_choice *choice) {
    mosa_output_begin_chunk(call);
    mosa_buf_append_str(&call->out, "{\"index\":");
    mosa_output_int(&call->out, choice->index);
    mosa_buf_append_str(&call->out, ",\"delta\":{");
}

static void end_delta(mosa_call *call, const char *finish_reason) {
    mosa_buf_append_str(&call->out, ",\"finish_reason\":");
    if (finish_reason)
        mosa_buf_printf(&call->out, "\"%s\"}", finish_reason);
    else
        mosa_buf_append_str(&call->out, "null}");
    mosa_output_end_chunk(call);
}

static void stream_event(mosa_call *call, mosa_choice *choice, const mosa_event *event, bool entry) {
    if (!choice->said_hello) {
        begin_delta(call, choice);
        mosa_buf_append_str(&call->out, "\"role\":\"assistant\",\"content\":\"\"}");
        end_delta(call, NULL);
        choice->said_hello = true;
    }
    if (event->text_len || entry) {
        begin_delta(call, choice);
        mosa_buf_append_str(&call->out, "\"content\":");
        mosa_json_append_string(&call->out, (mosa_slice){event->text, event->text_len});
        mosa_buf_append_char(&call->out, '}');
        if (entry) {
            mosa_buf_append_str(&call->out, ",\"logprobs\":{\"content\":[");
            mosa_output_chat_logprob(call->http->model, event, &call->out);
            mosa_buf_append_str(&call->out, "],\"refusal\":null}");
        }
        end_delta(call, NULL);
    }
    if (event->finish == MOSA_FINISH_NONE) return;
    begin_delta(call, choice);
    mosa_buf_append_char(&call->out, '}');
    end_delta(call, mosa_output_finish_reason(event->finish));
}

static void chat_event(mosa_call *call, mosa_choice *choice, const mosa_event *event) {
    const mosa_api_model *model = call->http->model;
    bool entry = call->logprobs && event->token >= 0 && !event->is_prompt && !mosa_output_is_end(model, event);
    if (call->stream) {
        stream_event(call, choice, event, entry);
        return;
    }
    mosa_buf_append(&choice->text, event->text, event->text_len);
    if (!entry) return;
    if (choice->logprobs.len) mosa_buf_append_char(&choice->logprobs, ',');
    mosa_output_chat_logprob(model, event, &choice->logprobs);
}

static void append_choice(const mosa_call *call, const mosa_choice *choice, mosa_buf *out) {
    mosa_buf_append_str(out, "{\"index\":");
    mosa_output_int(out, choice->index);
    mosa_buf_append_str(out, ",\"message\":{\"role\":\"assistant\",\"content\":");
    mosa_json_append_string(out, mosa_buf_slice(&choice->text));
    mosa_buf_append_str(out, ",\"refusal\":null},\"logprobs\":");
    if (call->logprobs) {
        mosa_buf_append_str(out, "{\"content\":[");
        mosa_buf_append_slice(out, mosa_buf_slice(&choice->logprobs));
        mosa_buf_append_str(out, "],\"refusal\":null}");
    } else {
        mosa_buf_append_str(out, "null");
    }
    mosa_buf_printf(out, ",\"finish_reason\":\"%s\"}", mosa_output_finish_reason(choice->finish));
    if (mosa_buf_failed(&choice->text) || mosa_buf_failed(&choice->logprobs)) out->failed = true;
}

static void chat_finish(mosa_call *call, mosa_buf *body) {
    if (call->stream) {
        if (call->include_usage) mosa_output_usage_chunk(call);
        mosa_output_done(call);
        return;
    }
    mosa_output_prefix(call->http->model, call, "chat.completion", body);
    for (int i = 0; i < call->n_choices; i++) {
        if (i) mosa_buf_append_char(body, ',');
        append_choice(call, &call->choices[i], body);
    }
    mosa_buf_append_str(body, "],\"usage\":");
    mosa_output_usage(call, body);
    mosa_buf_append_char(body, '}');
}

static const mosa_call_format chat_format = {.event = chat_event, .finish = chat_finish};

// --- requests -------------------------------------------------------------------------------------------------------

static bool refuse(mosa_http_request *request, const char *param, const char *what) {
    mosa_api_fail(&request->error, 400, "unsupported", param, "%s: %s", param, what);
    return false;
}

// What is well formed but not done here is refused by name, never ignored.
static bool check_supported(mosa_http_request *request) {
    const json_t *body = request->json;
    const char *format = json_string_value(json_object_get(json_object_get(body, "response_format"), "type"));
    if (format && strcmp(format, "text") != 0)
        return refuse(request, "response_format", "only {\"type\": \"text\"} is supported by this server.");
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

static bool build_call(mosa_http_request *request, mosa_params *params, const int32_t *tokens, size_t n_tokens) {
    if (!mosa_http_begin_call(request, &chat_format, params->n, "chatcmpl-")) return false;
    mosa_call *call = request->call;
    call->stream = params->stream;
    call->include_usage = params->include_usage;
    call->n_per_prompt = params->n;
    call->logprobs = params->request.top_logprobs >= 0;
    if (call->stream) mosa_output_prefix(request->model, call, "chat.completion.chunk", &call->prefix);
    bool failed = mosa_buf_failed(&call->prefix);
    for (int i = 0; i < params->n; i++) {
        mosa_params_encode(params, tokens, n_tokens, i, &call->choices[i]);
        failed = failed || mosa_buf_failed(&call->choices[i].frame);
    }
    if (failed)
        mosa_api_fail(&request->error, 503, "out_of_memory", NULL, "The server is out of memory. Please retry.");
    return !failed;
}

void mosa_route_chat(mosa_http_request *request) {
    mosa_params params;
    MOSA_AUTO_FREE int32_t *tokens = NULL;
    size_t n_tokens = 0;
    if (!mosa_api_choose_model(request) || !check_supported(request)) return;
    if (mosa_params_read(request, &params) && mosa_chat_tokenize(request, &tokens, &n_tokens) &&
        mosa_params_check_length(request, n_tokens, 1, "messages")) {
        if (mosa_body_bool(request->json, "logprobs", false))
            params.request.top_logprobs = (int)mosa_body_int(request->json, "top_logprobs", 0);
        build_call(request, &params, tokens, n_tokens);
    }
    mosa_params_finish(&params);
}
