// From a chat body to a call for the engine.
#include "api/chat_request.h"
#include "api/api_internal.h"
#include "api/chat_answer.h"
#include "api/chat_messages.h"

#include <stdlib.h>

bool mosa_chat_request_read(mosa_http_request *request, mosa_chat_request *chat) {
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

void mosa_chat_request_finish(mosa_chat_request *chat) {
    free(chat->tokens);
    mosa_chat_rule_finish(&chat->rule);
    mosa_output_rule_finish(&chat->output);
    mosa_chat_tools_finish(&chat->tools);
    mosa_request_params_finish(&chat->params);
}

static bool add_answers(mosa_call *call, const mosa_chat_rule *rule, bool hide_reasoning) {
    for (int i = 0; rule->needs_parser && i < call->n_choices; i++) {
        int id_len = rule->options.dialect ? rule->options.dialect->id_len : 0;
        call->choices[i].answer = mosa_chat_answer_create(&rule->options, id_len, hide_reasoning);
        if (!call->choices[i].answer) return false;
    }
    return true;
}

bool mosa_chat_request_begin(mosa_http_request *request, const mosa_chat_request *chat, const mosa_call_format *format,
                             const char *id_prefix, bool hide_reasoning) {
    const mosa_request_params *params = &chat->params;
    if (!mosa_http_begin_call(request, format, params->n, id_prefix)) return false;
    mosa_call *call = request->call;
    call->stream = params->stream;
    call->include_usage = params->include_usage;
    call->n_per_prompt = params->n;
    call->logprobs = params->request.top_logprobs >= 0;
    call->constraint_param = chat->rule.param;
    bool failed = !add_answers(call, &chat->rule, hide_reasoning);
    for (int i = 0; i < params->n; i++) {
        mosa_request_params_encode(params, chat->tokens, chat->n_tokens, i, &call->choices[i]);
        failed = failed || mosa_buf_failed(&call->choices[i].frame);
    }
    if (failed)
        mosa_api_fail(&request->error, 503, "out_of_memory", NULL, "The server is out of memory. Please retry.");
    return !failed;
}
