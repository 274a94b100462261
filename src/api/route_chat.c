// POST /v1/chat/completions.
#include "api/api_internal.h"
#include "api/chat_answer.h"
#include "api/chat_chunk.h"
#include "api/chat_messages.h"
#include "api/chat_rule.h"
#include "api/output.h"
#include "api/params.h"
#include "api/routes.h"

#include <stdlib.h>

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

// Everything that a chat request is read into.
typedef struct chat_request {
    mosa_request_params params;
    mosa_chat_tools tools;
    mosa_output_rule output;
    mosa_chat_rule rule;
    int32_t *tokens; // (n_tokens)
    size_t n_tokens;
} chat_request;

static bool add_answers(mosa_http_request *request, const mosa_chat_rule *rule) {
    mosa_call *call = request->call;
    bool hide_reasoning = !mosa_body_bool(request->json, "include_reasoning", true);
    for (int i = 0; rule->needs_parser && i < call->n_choices; i++) {
        int id_len = rule->options.dialect ? rule->options.dialect->id_len : 0;
        call->choices[i].answer = mosa_chat_answer_create(&rule->options, id_len, hide_reasoning);
        if (!call->choices[i].answer) return false;
    }
    return true;
}

static bool build_call(mosa_http_request *request, chat_request *chat) {
    mosa_request_params *params = &chat->params;
    if (!mosa_http_begin_call(request, &mosa_chat_format, params->n, "chatcmpl-")) return false;
    mosa_call *call = request->call;
    call->stream = params->stream;
    call->include_usage = params->include_usage;
    call->n_per_prompt = params->n;
    call->logprobs = params->request.top_logprobs >= 0;
    call->constraint_param = chat->rule.param;
    if (call->stream) mosa_output_prefix(request->model, call, "chat.completion.chunk", &call->prefix);
    bool failed = mosa_buf_failed(&call->prefix) || !add_answers(request, &chat->rule);
    for (int i = 0; i < params->n; i++) {
        mosa_request_params_encode(params, chat->tokens, chat->n_tokens, i, &call->choices[i]);
        failed = failed || mosa_buf_failed(&call->choices[i].frame);
    }
    if (failed)
        mosa_api_fail(&request->error, 503, "out_of_memory", NULL, "The server is out of memory. Please retry.");
    return !failed;
}

static bool read_request(mosa_http_request *request, chat_request *chat) {
    mosa_request *wanted = &chat->params.request;
    if (!mosa_request_params_read(request, &chat->params) || !mosa_chat_tools_read(request, &chat->tools) ||
        !mosa_output_rule_read(request, &chat->output) ||
        !mosa_chat_tokenize(request, chat->tools.shown, &chat->tokens, &chat->n_tokens) ||
        !mosa_request_params_check_length(request, chat->n_tokens, 1, "messages") ||
        !mosa_chat_rule_make(request, &chat->tools, &chat->output, chat->tokens, chat->n_tokens, &chat->rule))
        return false;
    wanted->constraint = chat->rule.constraint;
    wanted->show_control = chat->rule.needs_parser && mosa_model_text_get_info(request->model->text)->marks_are_control;
    if (mosa_body_bool(request->json, "logprobs", false))
        wanted->top_logprobs = (int)mosa_body_int(request->json, "top_logprobs", 0);
    return true;
}

void mosa_route_chat(mosa_http_request *request) {
    chat_request chat = {0};
    if (!mosa_api_choose_model(request) || !check_supported(request)) return;
    if (read_request(request, &chat)) build_call(request, &chat);
    free(chat.tokens);
    mosa_chat_rule_finish(&chat.rule);
    mosa_output_rule_finish(&chat.output);
    mosa_chat_tools_finish(&chat.tools);
    mosa_request_params_finish(&chat.params);
}
